// Holds sockets where /proc/PID/fd of a process doesn't show them, or not for long: what Rust has no safe call for.
//
//   holder MODE PORT [reset]
//
// Listens on 127.0.0.1:PORT, has 5 connections accepted there of which its own other ends are closed, or reset, and
// says "ready". It ends with its standard input.
//
//   files   in the descriptor table of another thread, which no other has
//   alike   the same; the first thread has as many descriptors as that one, and of the same numbers
//   first   in the one table, but the first thread has ended
//   ring    as registered files of an io_uring, no descriptor leads to them
//   flight  sent over a UNIX socket and not received
//   chain   after a line on standard input from process to process, by fork(2) and exit(2) every 20 ms
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { COUNT = 5 };
static int port, resets, sockets[COUNT + 1];  // The listener is the last.

static int fail(const char *what) { perror(what); exit(1); }

static void open_all(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&to, sizeof to) || listen(listener, 16)) fail("listen");
  for (int at = 0; at < COUNT; at++) {
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (void *)&to, sizeof to)) fail("connect");
    sockets[at] = accept(listener, 0, 0);
    struct linger at_once = {1, 0};
    if (resets) setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(client);
  }
  sockets[COUNT] = listener;
}

static void ready(void) { puts("ready"); fflush(stdout); }

static void until_end_of_input(void) {
  char byte;
  while (read(0, &byte, 1) > 0) {}
  _exit(0);
}

static void *apart(void *unused) {
  if (unshare(CLONE_FILES)) fail("unshare");
  open_all();
  ready();
  until_end_of_input();
  return unused;
}

static pthread_t first;
static void *outlives(void *unused) {
  pthread_join(first, 0);
  open_all();
  ready();
  until_end_of_input();
  return unused;
}

static void ring(void) {
  struct io_uring_params params = {0};
  int ring = syscall(SYS_io_uring_setup, 8, &params);
  if (ring < 0) fail("io_uring");
  open_all();
  if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, sockets, COUNT + 1) < 0) fail("register");
  for (int at = 0; at <= COUNT; at++) close(sockets[at]);
}

static void flight(void) {
  int pair[2];
  char byte = 0, space[CMSG_SPACE(sizeof sockets)] = {0};
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  open_all();
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  *rights = (struct cmsghdr){CMSG_LEN(sizeof sockets), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(rights), sockets, sizeof sockets);
  if (sendmsg(pair[0], &message, 0) < 0) fail("sendmsg");
  for (int at = 0; at <= COUNT; at++) close(sockets[at]);
}

static void chain(void) {
  char line;
  open_all();
  ready();
  if (read(0, &line, 1) < 1) _exit(0);
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    struct pollfd input = {0, 0, 0};
    poll(&input, 1, 20);
    if (input.revents & POLLHUP || fork() > 0) _exit(0);
  }
}

int main(int count, char **arguments) {
  pthread_t thread;
  const char *mode = arguments[1];
  port = count > 2 ? atoi(arguments[2]) : 0;
  resets = count > 3;
  first = pthread_self();
  if (!strcmp(mode, "files") || !strcmp(mode, "alike")) {
    pthread_create(&thread, 0, apart, 0);
    for (int at = 0; *mode == 'a' && at <= COUNT; at++) open("/dev/null", O_RDONLY);
    pause();
  }
  if (!strcmp(mode, "first")) { pthread_create(&thread, 0, outlives, 0); pthread_exit(0); }
  if (!strcmp(mode, "chain")) chain();
  if (!strcmp(mode, "ring")) ring();
  if (!strcmp(mode, "flight")) flight();
  ready();
  until_end_of_input();
}

#!/usr/bin/env bash
# Two MariaDB servers in containers with data directories of their own may share a /tmp (a pod's volume, a bind mount): temporary names are unique.
# Seen: they are made of the server's pid, the connection's number and a counter, and the server of a container is pid 1. With both on
# their n-th connection a CREATE TEMPORARY TABLE ... ENGINE=Aria of the second fails: Can't create/write to file '/tmp/#sql-temptable-1-4-0.MAI'
# (Errcode: 17 "File exists"), as long as the first has its own. The first doesn't notice. tmpdir of its own for each ends it.
# mariadb-server 1:10.11.19-0+deb12u1 (Debian 12)
DEBIAN="mariadb-server=1:10.11.19-0+deb12u1 mariadb-server-core=1:10.11.19-0+deb12u1 mariadb-client=1:10.11.19-0+deb12u1 mariadb-client-core=1:10.11.19-0+deb12u1"
. "$(dirname "$0")/lib.sh"
install -d -o mysql /run/mysqld one two
mount -t tmpfs -o mode=1777 tmpfs /tmp # the common one
serve() { # NAME PORT
    mariadb-install-db --user=mysql --datadir="$PWD/$1" --auth-root-authentication-method=normal --skip-test-db >/dev/null 2>&1
    unshare -p -f --kill-child setpriv --reuid mysql --regid mysql --init-groups mariadbd --datadir="$PWD/$1" --socket="$PWD/$1/sock" --port="$2" --pid-file="$PWD/$1/pid" --bind-address=127.0.0.1 >"$1.log" 2>&1 &
    until_ 60 mariadb -u root -S "$PWD/$1/sock" -e 'select 1'
}
on() { mariadb -u root -S "$PWD/$1/sock" -N mysql -e "$2" 2>&1; }
serve one 3306
serve two 3307
seen "pids of both, as they know them" "1 1" "$(echo $(cat one/pid two/pid))"
# Both on their next connection: at one it stays for six seconds.
on one "create temporary table t engine=aria as select 1 a; select sleep(6); select a from t" >one.out &
until_ 5 sh -c 'ls /tmp | grep -q "^#sql-temptable-1-"'
seen "Aria, the name at one" 1 "$(ls /tmp | grep -c '^#sql-temptable-1-[0-9a-f]*-0.MAI$')"
seen "Aria, the same at two" 'File exists' "$(on two 'create temporary table t engine=aria as select 1 a; select a from t' | grep -o 'File exists' | head -1)"
sleep 6
seen "Aria, one goes on" 1 "$(tail -1 one.out)"
done_

//! A terminal for one program: typed at, resized, and its screen read.

use crate::lab::Lab;
use crate::lab::run::{PATIENCE, poll, unique};
use std::process::{Command, Stdio};

pub struct Tmux {
    /// Its server's own socket.
    name: String,
}

impl Tmux {
    /// Runs a shell's line in the calling thread's namespace; when that ends it says so: `ended 0`.
    /// `None`: skipped.
    pub fn start(lab: &Lab, (width, height): (u16, u16), line: &str) -> Option<Tmux> {
        let tmux = Tmux { name: format!("connleak-{}", unique()) };
        let (width, height) = (width.to_string(), height.to_string());
        let line = format!("{line}; echo ended $?; stty -a | grep -ow -e -icanon -e icanon; exec sleep 600");
        let mut command = tmux.command();
        command.args(["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, &line]);
        match command.status() {
            Ok(status) => assert!(status.success(), "tmux: {status}"),
            Err(why) => {
                lab.skip(&format!("tmux: {why}"));
                return None;
            }
        }
        Some(tmux)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.name]).env_remove("TMUX").env("LC_ALL", "C.UTF-8").env_remove("COLUMNS");
        command.stdin(Stdio::null());
        command
    }

    fn ask(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// The screen once it shows all of these.
    pub fn wait_for(&self, words: &[&str]) -> String {
        let mut screen = String::new();
        let shown = poll(PATIENCE, || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            screen = self.screen();
            words.iter().all(|word| screen.contains(word))
        });
        assert!(shown, "not {words:?} on\n{screen}");
        screen
    }

    /// As send-keys knows them: `q`, `C-c`.
    pub fn press(&self, key: &str) {
        self.ask(&["send-keys", key]);
    }

    pub fn resize(&self, width: u16, height: u16) {
        self.ask(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// The pid of the program that the shell runs.
    pub fn program(&self) -> u32 {
        let shell: u32 = self.ask(&["display-message", "-p", "#{pane_pid}"]).trim().parse().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.split_whitespace().next().expect("a program in the terminal").parse().unwrap()
    }

    /// Whether the program drew on a screen of its own.
    pub fn is_alternate(&self) -> bool {
        self.ask(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").stderr(Stdio::null()).status();
    }
}

//! What is said of a panic: one line, without the directories of the machine that built the program.

use std::panic::PanicHookInfo;

pub fn words(panic: &PanicHookInfo) -> String {
    let place = panic.location().map_or(String::new(), |at| format!(" at {}:{}", place(at.file()), at.line()));
    let what = panic.payload_as_str().unwrap_or("no message");
    format!("internal error{place}: {what}; please report it")
}

/// `rusqlite-0.41.1/src/row.rs`: a crate of others and the file in it. Our own files are told from our root anyway.
fn place(file: &str) -> String {
    let Some((root, rest)) = file.rsplit_once("/src/").filter(|_| file.starts_with('/')) else {
        return file.rsplit_once('/').filter(|_| file.starts_with('/')).map_or(file, |(_, name)| name).to_owned();
    };
    format!("{}/src/{rest}", root.rsplit('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directory_of_a_build_is_told() {
        for (file, told) in [
            ("src/kernel/user.rs", "src/kernel/user.rs"),
            ("checks/check_closewait/main.rs", "checks/check_closewait/main.rs"),
            (
                "/home/ci/.cargo/registry/src/index.crates.io-1949/rusqlite-0.41.1/src/row.rs",
                "rusqlite-0.41.1/src/row.rs",
            ),
            ("/rustc/0123abc/library/core/src/option.rs", "core/src/option.rs"),
            ("/home/ci/build.rs", "build.rs"),
        ] {
            assert_eq!(place(file), told);
        }
    }
}

//! Build script. A release build aborts on a panic (`Cargo.toml`), so nothing ever unwinds: the tables for
//! it, an eighth of each program, are left out. The panic's own line is printed as before.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=packaging/link.rs");
    println!("cargo:rerun-if-changed=packaging/no_unwinding.ld");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{root}/packaging/no_unwinding.ld");
        println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}

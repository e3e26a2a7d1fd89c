//! Build script. A release build aborts on a panic (`Cargo.toml`), so nothing ever unwinds: the tables for
//! it, an eighth of each program, are left out. The panic's own line is printed as before.
//!
//! And it turns the profiles into Rust.

mod profiles;

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=packaging/link.rs");
    println!("cargo:rerun-if-changed=packaging/profiles.rs");
    println!("cargo:rerun-if-changed=packaging/no_unwinding.ld");
    println!("cargo:rerun-if-changed=thresholds");
    let [root, out] = ["CARGO_MANIFEST_DIR", "OUT_DIR"].map(|name| env::var(name).expect("set by cargo"));
    profiles::write(&Path::new(&root).join("thresholds"), Path::new(&out));
    // Static programs for arm64 refer to the tables from the C library's own start, so there they stay.
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if is_x86 && env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{root}/packaging/no_unwinding.ld");
        println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}

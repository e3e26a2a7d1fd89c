//! One port's states counted with the procfs crate alone.

fn main() -> procfs::ProcResult<()> {
    let mut counts = [0u64; 16];
    for entry in procfs::net::tcp()?.into_iter().chain(procfs::net::tcp6()?) {
        if entry.local_address.port() == 11211 {
            counts[usize::from(entry.state.to_u8()) % 16] += 1;
        }
    }
    println!("{counts:?}");
    Ok(())
}

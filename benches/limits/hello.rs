//! What it costs to start a process of this language and these build options at all.

fn main() {
    println!("hello");
}

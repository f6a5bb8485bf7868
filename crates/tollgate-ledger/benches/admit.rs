//! Admission in process.
fn main() {
    divan::main();
}

//! Writes manual pages and shell completions to a directory, generated from the definition of the
//! command line: `cargo run --example manual -- target/manual`.

use std::path::PathBuf;
use std::{env, fs, io};

use clap_complete::Shell;

fn main() -> io::Result<()> {
    let directory: PathBuf = env::args_os()
        .nth(1)
        .map_or_else(|| "target/manual".into(), Into::into);
    fs::create_dir_all(&directory)?;
    let mut command = sealinit::command_line();
    clap_mangen::generate_to(command.clone(), &directory)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "sealinit", &directory)?;
    }
    Ok(())
}

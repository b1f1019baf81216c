//! The manual pages and shell completions, made from the binary's own command line.

use clap_complete::Shell;

fn commands() -> Vec<String> {
    let command = sealinit::command_line();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    names
}

#[test]
fn every_command_has_a_manual_page_with_all_its_options() {
    let command = sealinit::command_line();
    for name in commands() {
        let subcommand = command.find_subcommand(&name).unwrap().clone();
        let mut page = Vec::new();
        clap_mangen::Man::new(subcommand.clone())
            .render(&mut page)
            .unwrap();
        let page = String::from_utf8(page).unwrap().replace("\\-", "-");
        assert!(page.contains(".SH OPTIONS"), "{name}");
        for option in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("--{option}")), "{name} --{option}");
        }
    }
}

#[test]
fn every_command_is_completed_in_every_shell() {
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let mut script = Vec::new();
        clap_complete::generate(
            shell,
            &mut sealinit::command_line(),
            "sealinit",
            &mut script,
        );
        let script = String::from_utf8(script).unwrap();
        for name in commands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        for option in ["state-dir", "pin", "strict", "diff"] {
            assert!(script.contains(option), "{shell}: {option}");
        }
    }
}

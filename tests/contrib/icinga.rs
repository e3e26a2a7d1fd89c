//! CheckCommand objects.

use super::options::{self, CHECKS, Check, Opt};

const HEAD: &str = "\
// A CheckCommand for each check of connleak. Every option is a custom variable: check_closewait's
// --min-age is vars.closewait_min_age. Written from --help: BLESS=1 cargo test --test contrib
";

/// Help and version are no check.
pub fn is_wanted(option: &Opt) -> bool {
    !["--help", "--version"].contains(&option.long())
}

/// `closewait_min_age`.
pub fn variable(check: &Check, option: &Opt) -> String {
    format!("{}_{}", check.short(), option.long()[2..].replace('-', "_"))
}

pub fn commands() -> String {
    let mut text = HEAD.to_owned();
    for check in CHECKS {
        let (command, name) = (check.short(), check.name());
        text += &format!("\nobject CheckCommand \"{command}\" {{\n  command = [ PluginDir + \"/{name}\" ]\n\n");
        text += "  arguments = {\n";
        for option in options::of(check).iter().filter(|option| is_wanted(option)) {
            let key = if option.is_switch() { "set_if" } else { "value" };
            text += &format!("    \"{}\" = {{\n      {key} = \"${}$\"\n", option.long(), variable(&check, option));
            if option.is_repeated() {
                text += "      repeat_key = true\n";
            }
            text += &format!("      description = \"{}\"\n    }}\n", quoted(&option.description));
        }
        text += "  }\n}\n";
    }
    text
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

//! `runner completions`: what shells complete, and the manual page, both made from the arguments themselves.

use clap::Command;
use clap_complete::Shell;

use super::output::{self, Exit};
use crate::report::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell, or `man` for the manual page.
    #[arg(value_enum, value_name = "SHELL")]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Bash,
    Elvish,
    Fish,
    /// The manual page, in roff.
    Man,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

pub fn run(args: &Args, mut command: Command, output: output::Output) -> Exit {
    let name = command.get_name().to_owned();
    let shell = match args.what {
        What::Bash => Shell::Bash,
        What::Elvish => Shell::Elvish,
        What::Fish => Shell::Fish,
        What::PowerShell => Shell::PowerShell,
        What::Zsh => Shell::Zsh,
        What::Man => {
            return match manual(command) {
                Ok(page) => print(&page),
                Err(error) => {
                    let failure = Failure::bug("cli.manual", "the manual page cannot be made").because(error);
                    output::failure(&failure, output)
                }
            };
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

fn print(bytes: &[u8]) -> Exit {
    output::put(format_args!("{}", String::from_utf8_lossy(bytes)));
    Exit::Done
}

/// What the arguments do not say.
const MORE: &str = r#".SH "EXIT STATUS"
0 done; 1 failed while running; 2 the spec or the command line is wrong; 3 refused: something would be lost or belongs to somebody else; 4 the answer is no.
.SH ENVIRONMENT
.TP
.B RUNNER_LOG
What is logged, in the filter language of tracing; instead of \fB\-v\fR.
.TP
.B NO_COLOR
If set, nothing is coloured.
.SH FILES
.TP
.I .runner/NAMESPACE/PIPELINE
State of a pipeline, under the working directory: the journal where no Kafka sink keeps it, and locks.
"#;

/// One page for all verbs: what belongs to one of them stands under its name.
fn manual(mut command: Command) -> std::io::Result<Vec<u8>> {
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    let end = page.find(".SH VERSION").unwrap_or(page.len());
    let last = page.split_off(end);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        add_verb(verb, &mut page)?;
    }
    page.push_str(MORE);
    page.push_str(&last);
    Ok(page.into_bytes())
}

fn add_verb(verb: &Command, page: &mut String) -> std::io::Result<()> {
    let inner: Vec<&Command> = verb.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
    for inner in &inner {
        add_verb(inner, page)?;
    }
    if !inner.is_empty() {
        return Ok(());
    }
    let name = verb.get_bin_name().unwrap_or(verb.get_name());
    // What every verb takes stands once, above.
    let own = verb.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    let man = clap_mangen::Man::new(own);
    let mut section = Vec::new();
    man.render_synopsis_section(&mut section)?;
    man.render_description_section(&mut section)?;
    man.render_options_section(&mut section)?;
    let section = String::from_utf8_lossy(&section).into_owned();
    let section = section.replacen(".SH SYNOPSIS", &format!(".SH \"{}\"", name.to_uppercase()), 1);
    page.push_str(&section.replace(".SH DESCRIPTION", ".PP").replace(".SH OPTIONS", ".PP"));
    Ok(())
}

//! Tasks of the workspace: set-up, plugins, the demo, the checks and the tests.

mod attack;
mod demo;
mod doctor;
mod fuzz;
mod guests;
mod lint;
mod process;
mod suite;
mod testbed;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, plugins, the demo, the checks and the tests"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Break an application and show how it is repaired, on embedded parts or on real servers
    Demo {
        /// Use a real Prometheus, Kafka, Ollama and Kubernetes, and install them if they are
        /// missing
        #[arg(long)]
        real: bool,
        /// Arguments for `anomalyzer demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Run all checks and tests, and print which tests ran against which real server
    Test {
        /// Also run the long ones: the attacks, 1,000 kills, and each fuzz target for one minute
        #[arg(long)]
        all: bool,
    },
    /// Check dependencies, layers, sizes, names and words, without compiling anything
    Lint {
        /// List up to this many doc blocks that open with a fragment
        #[arg(long, default_value_t = 0)]
        list: usize,
    },
    /// List the needed programs, and a remedy for each missing one
    Doctor,
    /// Build the plugins into target/plugins, and malicious ones for the tests into target/evil
    Plugins {
        /// Also build the examples in JavaScript and Python, into target/examples
        #[arg(long)]
        examples: bool,
    },
    /// Build the plugins and the release binary
    Build,
    /// Run the benchmarks
    Bench {
        /// Arguments for criterion, such as `--quick`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Fuzz every parser of bytes from outside
    Fuzz {
        /// Seconds that each target runs
        #[arg(long, default_value_t = 60, conflicts_with = "minutes")]
        seconds: u64,
        /// Minutes that all targets run together
        #[arg(long)]
        minutes: Option<u64>,
        /// Targets to run [default: all]
        targets: Vec<String>,
    },
    /// Kill the service at every durable step of a decision and at random times, and check the
    /// record after each restart
    Kill {
        /// Number of kills
        #[arg(long, default_value_t = 2000)]
        times: u32,
    },
    /// Experiment with trouble in real time: servers that are away, processes that stand still,
    /// targets that change
    Trouble {
        /// Divisor of all times; the tests use 40
        #[arg(long, default_value_t = 1)]
        scale: u32,
        /// Arguments for the experiments, such as `absences`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Attack a running service from outside, and print the attempts and the faults of each row
    Attack {
        /// Arguments for `attack`, such as `--only roles,raw` and `--seed 7`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Start the real servers, and print the environment variables to use
    Up {
        /// Arguments for `testbed up`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Stop the real servers
    Down,
}

fn main() -> ExitCode {
    let done = run(Arguments::parse().task);
    let interrupted = process::is_interrupted();
    process::end_all();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A shell reports 128 + SIGINT.
        Err(_) if interrupted => ExitCode::from(130),
        Err(error) => {
            println!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    process::end_all_on_ctrl_c()?;
    match task {
        Task::Demo { real, rest } => match lift("--real", real, rest) {
            (false, rest) => demo::embedded(&rest),
            (true, rest) => demo::real(&rest),
        },
        Task::Test { all } => {
            suite::run()?;
            if all {
                attack::run(&[])?;
                kill(1000)?;
                fuzz::run(fuzz::Time::PerTarget(60), &[])?;
            }
            Ok(())
        }
        Task::Lint { list } => lint::run(list),
        Task::Doctor => doctor::examine(),
        Task::Plugins { examples } => plugins(examples),
        Task::Build => demo::build().map(|_| ()),
        Task::Bench { rest } => bench(&rest),
        Task::Fuzz {
            seconds,
            minutes,
            targets,
        } => {
            let time = minutes.map_or(fuzz::Time::PerTarget(seconds), |minutes| {
                fuzz::Time::Together(minutes.saturating_mul(60))
            });
            fuzz::run(time, &targets)
        }
        Task::Kill { times } => kill(times),
        Task::Trouble { scale, rest } => trouble(scale, &rest),
        Task::Attack { rest } => attack::run(&rest),
        Task::Up { rest } => demo::servers(&rest),
        Task::Down => process::run(process::command(&testbed::binary()?).arg("down")),
    }
}

/// Finds a flag of ours also among the arguments that are passed on.
fn lift(flag: &str, given: bool, mut rest: Vec<String>) -> (bool, Vec<String>) {
    let before = rest.len();
    rest.retain(|argument| argument != flag);
    (given || rest.len() < before, rest)
}

/// Kills the service `times` times, and checks the record after each restart.
fn kill(times: u32) -> Result<()> {
    guests::build()?;
    let arguments = [
        "test",
        "--locked",
        "--workspace",
        "--test",
        "demo",
        "kills::however",
        "--",
        "--nocapture",
    ];
    process::run(
        workspace::cargo()
            .args(arguments)
            .env("ANOMALYZER_TEST_KILLS", times.to_string()),
    )
}

/// Runs the experiments of `host/tests/trouble` at the same time, with all times divided by
/// `scale`.
fn trouble(scale: u32, rest: &[String]) -> Result<()> {
    guests::build()?;
    let broker = testbed::Testbed::up("trouble", &["--only".to_owned(), "kafka".to_owned()])?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--locked", "--workspace", "--test", "trouble", "--"]);
    cargo.args(["--nocapture", "--test-threads", "16"]);
    process::run(
        cargo
            .args(rest)
            .env("ANOMALYZER_TROUBLE_SCALE", scale.to_string())
            .envs(broker.environment()),
    )
}

/// Builds all plugins.
///
/// # Errors
/// Returns an error if `examples` is true and the examples of a language are missing.
fn plugins(examples: bool) -> Result<()> {
    guests::build()?;
    guests::build_evil()?;
    if examples {
        let missing = guests::examples::build()?;
        ensure!(
            missing.is_empty(),
            "the examples in {} were not built",
            guests::examples::joined_names(&missing)
        );
    }
    Ok(())
}

/// Builds with the features of the whole workspace, so that no dependency is built for the
/// benchmarks alone.
fn bench(rest: &[String]) -> Result<()> {
    guests::build()?;
    guests::build_with_simd("zscore")?;
    // Missing examples are reported, and not measured.
    guests::examples::build()?;
    let broker = testbed::Testbed::up("bench", &["--only".to_owned(), "kafka".to_owned()])?;
    let mut cargo = workspace::cargo();
    cargo.args([
        "bench",
        "--locked",
        "--workspace",
        "--bench",
        "detector",
        "--bench",
        "plugins",
        "--bench",
        "pipeline",
        "--bench",
        "history",
    ]);
    process::run(cargo.arg("--").args(rest).envs(broker.environment()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn demo(arguments: &[&str]) -> (bool, Vec<String>) {
        let arguments = ["xtask", "demo"].iter().chain(arguments);
        let Task::Demo { real, rest } = Arguments::parse_from(arguments).task else {
            panic!("no demo")
        };
        lift("--real", real, rest)
    }

    #[test]
    fn real_is_heard_wherever_it_stands_and_the_rest_is_passed_on() {
        assert_eq!(
            demo(&["--real", "--exit-when-done"]),
            (true, vec!["--exit-when-done".to_owned()])
        );
        assert_eq!(
            demo(&["--exit-when-done", "--real"]),
            (true, vec!["--exit-when-done".to_owned()])
        );
        assert_eq!(
            demo(&["--exit-when-done"]),
            (false, vec!["--exit-when-done".to_owned()])
        );
    }
}

//! Programs that are run in turn, and the table of their times.

use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The program that is measured.
pub(crate) const SEALINIT: &str = env!("CARGO_BIN_EXE_sealinit");

/// The variable that names another sealinit. Each row of sealinit is followed by one of it then.
const BASELINE: &str = "BENCH_BASELINE";

/// A command, made anew for each run from a name that no other run has.
type MakeCommand = Rc<dyn Fn(&str) -> Vec<String>>;

/// One row of a table.
pub(crate) struct Contender {
    pub(crate) name: String,
    make: MakeCommand,
    /// Done before each run, not timed.
    before: Rc<dyn Fn()>,
    times: Vec<Duration>,
    /// The sealinit to run instead.
    baseline: Option<String>,
}

impl Contender {
    pub(crate) fn new(name: &str, command: Vec<String>) -> Self {
        Self::fresh(name, move |_| command.clone())
    }

    /// Makes a row whose command is `make` of a new name for each run. Its time is not counted.
    pub(crate) fn fresh(name: &str, make: impl Fn(&str) -> Vec<String> + 'static) -> Self {
        Self {
            name: name.to_owned(),
            make: Rc::new(make),
            before: Rc::new(|| {}),
            times: Vec::new(),
            baseline: None,
        }
    }

    pub(crate) fn before(mut self, before: impl Fn() + 'static) -> Self {
        self.before = Rc::new(before);
        self
    }

    /// Returns the same row of the baseline, if there is one and this is a row of sealinit.
    fn baseline(&self) -> Option<Self> {
        let baseline = std::env::var(BASELINE).ok()?;
        self.name.starts_with("sealinit").then(|| Self {
            name: "  baseline".to_owned(),
            make: Rc::clone(&self.make),
            before: Rc::clone(&self.before),
            times: Vec::new(),
            baseline: Some(baseline),
        })
    }

    pub(crate) fn command(&self, run: &str) -> Command {
        let mut words = (self.make)(run);
        if let Some(baseline) = &self.baseline {
            for word in words.iter_mut().filter(|word| *word == SEALINIT) {
                word.clone_from(baseline);
            }
        }
        let (program, arguments) = words.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs it once; `run` is a name that no other run has.
    pub(crate) fn run(&mut self, run: &str, counted: bool) {
        (self.before)();
        let mut command = self.command(run);
        let began = Instant::now();
        let status = command.status().expect("it can be started");
        let time = began.elapsed();
        assert!(status.success(), "{}: {status}", self.name);
        if counted {
            self.times.push(time);
        }
    }

    /// Returns the median of its times by those of `other` in the same round.
    fn ratio(&self, other: &Self) -> f64 {
        let pairs = self.times.iter().zip(&other.times);
        let mut ratios: Vec<f64> = pairs
            .map(|(own, other)| own.as_secs_f64() / other.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2]
    }
}

pub(crate) fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Adds the baseline after each row of sealinit.
pub(crate) fn with_baseline(contenders: Vec<Option<Contender>>) -> Vec<Contender> {
    let mut all = Vec::new();
    for contender in contenders.into_iter().flatten() {
        let baseline = contender.baseline();
        all.push(contender);
        all.extend(baseline);
    }
    all
}

/// Runs all of them in turn, a tenth of `runs` to warm up, and prints their medians. Ratios are
/// medians of pairs: to the first row, and to the row's baseline.
pub(crate) fn compare(title: &str, runs: usize, contenders: Vec<Option<Contender>>) {
    let mut contenders = with_baseline(contenders);
    let warm_up = runs / 10;
    for round in 0..runs + warm_up {
        for (index, contender) in contenders.iter_mut().enumerate() {
            contender.run(&format!("{round}-{index}"), round >= warm_up);
        }
    }
    println!("\n{title} (median of {runs})");
    for (index, contender) in contenders.iter().enumerate() {
        let time = contender.median().as_secs_f64() * 1e6;
        let ratio = contender.ratio(&contenders[0]);
        let next = contenders.get(index + 1);
        let baseline = next.filter(|next| next.baseline.is_some());
        let baseline = baseline.map_or_else(String::new, |baseline| {
            format!("  {:>6.2} of the baseline", contender.ratio(baseline))
        });
        println!(
            "  {:<48} {time:>10.0} us  {ratio:>6.2}{baseline}",
            contender.name
        );
    }
}

/// Returns a row of another program, if it is installed.
pub(crate) fn peer(name: &str, command: &[&str]) -> Option<Contender> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(command[0]).exists())
    });
    if !found {
        println!(
            "MISSING: {} (not installed; the comparison is without it)",
            command[0]
        );
        return None;
    }
    Some(Contender::new(name, owned(command)))
}

//! The time of whole starts with few files, and of the reports.

use std::fs;
use std::path::Path;

use crate::contender::{Contender, SEALINIT, compare, owned, peer};
use crate::place::{Place, make};

/// Compares whole starts.
pub(crate) fn starts(place: &Place, service: &str, runs: usize) {
    let waits =
        format!("if (fork() == 0) execl(\"{service}\", \"true\", (char *)0); return wait(0) < 0;");
    let forks = make(place, "forks", &waits);
    place.manifest("six", 6, 2000, service);
    Contender::new("first", place.run("six")).run("", false);
    let first = |name: &'static str, manifest: &'static str| {
        let (etc, state) = (
            place.path(&format!("{manifest}-etc")),
            place.path(&format!("{manifest}-state")),
        );
        Contender::new(name, place.run(manifest)).before(move || {
            let _ = fs::remove_dir_all(Path::new(&etc));
            let _ = fs::remove_dir_all(Path::new(&state));
        })
    };
    place.manifest("fresh", 6, 2000, service);
    place.manifest("memory/fresh", 6, 2000, service);
    compare(
        "a start, service = a static program that does nothing",
        runs,
        vec![
            peer("tini-static", &["tini-static", "-s", "--", service]),
            Some(Contender::new("the service alone", owned(&[service]))),
            Some(Contender::new(
                "a bare fork and wait around it",
                owned(&[&forks]),
            )),
            Some(Contender::new(
                "sealinit run, later start, 6 files",
                place.run("six"),
            )),
            Some(first(
                "sealinit run, first start, 6 files, tmpfs",
                "memory/fresh",
            )),
            Some(first("sealinit run, first start, 6 files, synced", "fresh")),
            Some(Contender::new(
                "sealinit run --supervise, later start",
                [place.run("six"), owned(&["--supervise"])].concat(),
            )),
            Some(Contender::new(
                "sealinit init",
                owned(&[SEALINIT, "init", "--", service]),
            )),
            Some(Contender::new(
                "sealinit init --user 65534:65534",
                owned(&[SEALINIT, "init", "--user", "65534:65534", "--", service]),
            )),
            peer("dumb-init", &["dumb-init", "--", service]),
            peer("gosu", &["gosu", "65534:65534", service]),
            peer(
                "setpriv",
                &[
                    "setpriv",
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                    service,
                ],
            ),
        ],
    );
}

/// Compares the commands that only read.
pub(crate) fn reports(place: &Place, service: &str, runs: usize) {
    place.manifest("sixty", 60, 2000, service);
    Contender::new("first", place.run("sixty")).run("", false);
    let report = |command: &str, name: &str| {
        let manifest = place.path(&format!("{name}/manifest.json"));
        let state = place.path(&format!("{name}-state"));
        let state = owned(&["--state-dir", &state]);
        match command {
            "verify" => [owned(&[SEALINIT, "verify"]), state].concat(),
            command => [owned(&[SEALINIT, command, "--manifest", &manifest]), state].concat(),
        }
    };
    compare(
        "reports",
        runs,
        vec![
            Some(Contender::new(
                "sealinit --version",
                owned(&[SEALINIT, "--version"]),
            )),
            Some(Contender::new(
                "sealinit verify, 60 files",
                report("verify", "sixty"),
            )),
            Some(Contender::new(
                "sealinit check, 6 files",
                report("check", "six"),
            )),
            Some(Contender::new(
                "sealinit plan, 6 files",
                report("plan", "six"),
            )),
        ],
    );
}

//! The time of starts whose work is hashing.

use std::fs;

use crate::contender::{Contender, SEALINIT, compare, owned, peer};
use crate::place::Place;

/// Compares the hashing of `size` bytes in one file and in many.
pub(crate) fn hashing(place: &Place, service: &str, runs: usize, size: u64) {
    place.manifest("large", 1, 0, service);
    let file = fs::File::create(place.path("large/f0")).expect("a file of ours");
    file.set_len(size).expect("room for a sparse file");
    let large = place.path("large/f0");
    place.manifest("spread", 64, 0, service);
    for index in 0..64 {
        let file =
            fs::File::create(place.path(&format!("spread/f{index}"))).expect("a file of ours");
        file.set_len(size / 64).expect("room for a sparse file");
    }
    let digest = |name: &str| {
        owned(&[
            SEALINIT,
            "digest",
            "--manifest",
            &place.path(&format!("{name}/manifest.json")),
        ])
    };
    compare(
        "hashing one large file, and as much in 64 files",
        runs,
        vec![
            peer(
                "openssl dgst -sha256",
                &["openssl", "dgst", "-sha256", &large],
            ),
            Some(Contender::new("sealinit digest", digest("large"))),
            Some(Contender::new(
                "sealinit digest, 64 files, one core",
                [owned(&["taskset", "-c", "0"]), digest("spread")].concat(),
            )),
            Some(Contender::new(
                "sealinit digest, 64 files, all cores",
                digest("spread"),
            )),
        ],
    );
}

/// Compares the verification of `count` files of 20 kB.
pub(crate) fn verifying(place: &Place, service: &str, runs: usize, count: u64) {
    let count = usize::try_from(count).expect("a small number");
    place.manifest("many", count, 20_000, service);
    Contender::new("first", place.run("many")).run("", false);
    let config = format!(
        "database_in=file:{0}/aide.db\ndatabase_out=file:{0}/aide.db\n{0}/many-etc p+u+g+s+sha256+ftype\n",
        place.0.display()
    );
    fs::write(place.path("aide.conf"), config).expect("a file of ours");
    let aide = place.path("aide.conf");
    if let Some(mut init) = peer("aide --init", &["aide", "--config", &aide, "--init"]) {
        init.run("", false);
    }
    compare(
        "verifying many files of 20 kB",
        runs,
        vec![
            peer("aide --check", &["aide", "--config", &aide, "--check"]),
            Some(Contender::new(
                "sealinit run, later start",
                place.run("many"),
            )),
        ],
    );
    place.forget("many");
}

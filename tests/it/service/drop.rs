//! The drop of privileges, proven: every set of capabilities, and system calls that lie.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::STATUS;
use crate::harness::{
    APP, CAPABILITY_SETS, CERTS, CONF, CONTENT, OTHER, SEAL, Sandbox, TRACE, UserNamespace,
    for_each, name_of, one_file, sandbox_test, status,
};

/// The capabilities to add to `docker run --cap-drop ALL`: name, setpriv's name, and true if a
/// start always needs it.
const CAPABILITIES: [(&str, &str, bool); 4] = [
    ("CHOWN", "chown", true),
    ("SETUID", "setuid", true),
    ("SETGID", "setgid", true),
    // It empties the bounding set, which is not needed under no_new_privs.
    ("SETPCAP", "setpcap", false),
];

// Every subset of the capabilities either suffices, or the message names all that are missing and
// no other.
sandbox_test!(
    every_set_of_capabilities_is_enough_or_the_missing_ones_are_named,
    |original| {
        for no_new_privileges in [true, false] {
            for subset in 0_u8..16 {
                let sandbox = original.another();
                let mut manifest = one_file(STATUS);
                manifest["service"]["no_new_privileges"] = json!(no_new_privileges);
                sandbox.one_file(STATUS).manifest(&manifest);
                let has = |index: usize| subset & (1 << index) != 0;
                let given: Vec<&str> = CAPABILITIES
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| has(*i))
                    .map(|(_, (_, name, _))| *name)
                    .collect();
                let missing: Vec<&str> = (CAPABILITIES.iter().enumerate())
                    .filter(|(i, (name, _, always))| {
                        // A capability outside of the bounding set need not be dropped from it.
                        let empty = *name == "SETPCAP" && given.is_empty();
                        !has(*i) && (*always || !no_new_privileges && !empty)
                    })
                    .map(|(_, (name, ..))| *name)
                    .collect();
                let start = sandbox.launch().capabilities(&given).start();
                if missing.is_empty() {
                    let service = start.success();
                    assert_eq!(service.status("CapEff"), "0000000000000000", "{given:?}");
                    assert_eq!(service.status("Uid"), "1000 1000 1000 1000", "{given:?}");
                    if has(3) {
                        assert_eq!(service.status("CapBnd"), "0000000000000000", "{given:?}");
                    }
                    continue;
                }
                let refused = start.refused(77, missing[0]);
                assert_eq!(refused.errors().len(), 1, "all in one message\n{refused:?}");
                for (name, ..) in CAPABILITIES {
                    let named = refused.errors()[0].contains(name);
                    assert_eq!(
                        named,
                        missing.contains(&name),
                        "{name} with {given:?}\n{refused:?}"
                    );
                }
            }
        }
    }
);

// Capabilities in the other sets that an engine passes on (CVE-2022-24769).
sandbox_test!(
    inheritable_and_ambient_capabilities_do_not_reach_the_service,
    |sandbox| {
        sandbox.one_file(STATUS);
        for state in ["sealed", "verified"] {
            let given = [
                "setpriv",
                "--inh-caps=+net_raw,+chown,+setuid",
                "--ambient-caps=+net_raw,+chown,+setuid",
            ];
            let service = sandbox.launch().wrapper(given).start().success();
            assert_eq!(service.state(), state);
            for set in CAPABILITY_SETS {
                assert_eq!(service.status(set), "0000000000000000", "{set}");
            }
        }
    }
);

// `--user 1000 --group-add 2000`: the engine gives the groups, and a manifest that wants more is
// refused.
sandbox_test!(
    without_root_the_groups_are_those_of_the_engine,
    |original| {
        for (groups, wanted, works) in [
            ("2000", json!([]), true),
            ("2000", json!(["certs"]), true),
            ("2000,1001", json!([CERTS, OTHER]), true),
            ("1001", json!(["certs"]), false),
        ] {
            let sandbox = original.another();
            let mut manifest = one_file(STATUS);
            manifest["service"]["supplementary_groups"] = wanted.clone();
            sandbox
                .one_file(&[])
                .manifest(&manifest)
                .directory("/etc/app", 0o755)
                .owner("/etc/app", APP, APP)
                .directory("/var/lib/sealinit", 0o700)
                .owner("/var/lib/sealinit", APP, APP);
            let groups = format!("--groups={groups}");
            let as_user = [
                "setpriv",
                "--reuid=1000",
                "--regid=1000",
                &groups,
                "--inh-caps=-all",
            ];
            let start = sandbox.launch().wrapper(as_user).start();
            if works {
                let service = start.success();
                assert!(
                    service.status("Groups").contains("2000"),
                    "{groups} {wanted}"
                );
                assert_eq!(service.summarised("lock"), "none");
            } else {
                start.refused(77, "2000").says("--group-add");
            }
        }
    }
);

// Root by uid, with another primary group and supplementary groups of the engine.
sandbox_test!(groups_of_the_engine_do_not_reach_the_service, |sandbox| {
    sandbox.one_file(STATUS);
    let service = sandbox
        .launch()
        .wrapper(["setpriv", "--regid=1001", "--groups=0,4,27,2000"])
        .start()
        .success();
    assert_eq!(
        (
            service.status("Gid").as_str(),
            service.status("Groups").as_str()
        ),
        ("1000 1000 1000 1000", "1000")
    );
    // New directories belong to group root, not to the group of this process.
    assert_eq!(sandbox.object("/etc/app"), "directory 0755 0:0");
    assert_eq!(
        sandbox.start().success().state(),
        "verified",
        "the next start has other groups"
    );
});

// Rootless engines map the container's root to the user and all others to a range.
sandbox_test!(a_user_namespace_of_ranges_changes_nothing, |sandbox| {
    sandbox.one_file(STATUS);
    // Ids of an outer namespace end at 65,535.
    let map = "0 0 1\n1 20000 40000";
    for state in ["sealed", "verified"] {
        let namespace = UserNamespace {
            map,
            deny_setgroups: false,
        };
        let service = sandbox.launch().user_namespace(namespace).start().success();
        assert_eq!(service.state(), state);
        assert_eq!(service.status("Uid"), "1000 1000 1000 1000");
        assert_eq!(service.status("CapBnd"), "0000000000000000");
        assert_eq!(service.summarised("lock"), "full");
    }
    assert!(
        sandbox.object(CONF).starts_with("file 0440 0:20999 "),
        "{}",
        sandbox.object(CONF)
    );
    // Outside of the namespace the group is another one: drift.
    sandbox.start().refused(80, CONF);
});

/// Adds groups and a capability to those of root, so that each step has something to drop.
const LADEN: [&str; 3] = ["setpriv", "--groups=0,4", "--inh-caps=+net_raw"];

/// The steps of the drop in an undisturbed start: the call as strace shows it, and its number among
/// the calls of that name.
fn steps(sandbox: &Sandbox) -> Vec<(String, usize)> {
    let names = [
        "setgroups",
        "setgid",
        "setuid",
        "setresgid",
        "setresuid",
        "capset",
        "prctl",
        "write",
    ];
    let launch = sandbox.launch().wrapper(LADEN).traced(&names);
    let _ = launch.start().success();
    let trace = fs::read_to_string(sandbox.path(TRACE)).unwrap();
    let mut counts = BTreeMap::new();
    let mut steps = Vec::new();
    for line in trace.lines().filter(|line| line.contains('(')) {
        let nth = counts.entry(name_of(line)).or_insert(0);
        *nth += 1;
        if name_of(line) == "write" && line.contains("sealinit-seal-v") {
            // The calls before the seal only change the ids for a while.
            steps.clear();
        }
        let asks = line.contains("_READ") || line.contains("_GET_") || line.contains("_IS_SET");
        if !asks && name_of(line) != "write" {
            steps.push((line.to_owned(), *nth));
        }
    }
    steps
}

// Promise 4: if the drop cannot be proven, the service does not run. Each step once reports success
// without having been done, and each attempt to get root back reports success.
sandbox_test!(
    promise_4_a_drop_that_did_not_happen_is_noticed,
    strace,
    |sandbox| {
        for kept in [json!([]), json!(["NET_BIND_SERVICE"])] {
            let original = sandbox.another();
            let mut manifest = one_file(STATUS);
            manifest["service"]["capabilities"] = kept.clone();
            original.one_file(&[]).manifest(&manifest);
            let mut steps = steps(&original);
            for name in ["setgroups", "setresgid", "setresuid", "capset"] {
                assert!(
                    steps.iter().any(|(call, _)| name_of(call) == name),
                    "{name} is not a step of\n{steps:#?}"
                );
            }
            // The ambient set is empty and KEEPCAPS is not needed any more, so these two change
            // nothing. One of the forty capabilities of the bounding set is enough.
            let idle =
                |call: &str| call.contains("CLEAR_ALL") || call.contains("PR_SET_KEEPCAPS, 0");
            steps.retain(|(call, _)| !idle(call));
            let mut first = true;
            steps.retain(|(call, _)| {
                !call.contains("PR_CAPBSET_DROP") || std::mem::take(&mut first)
            });
            for_each(&steps, |(call, nth)| {
                let sandbox = original.another();
                sandbox.one_file(&[]).manifest(&manifest);
                let name = name_of(call);
                let launch = sandbox.launch().wrapper(LADEN);
                let start = launch.lying_at(name, 0, *nth).start();
                assert_eq!(start.exit_code(), 77, "keeping {kept}, it believed\n{call}");
                let failed = start.failed(77, "cannot ");
                assert_eq!(failed.errors().len(), 1, "{call}\n{failed:?}");
                assert!(
                    failed.errors()[0].contains("the service was not started"),
                    "{call}\n{failed:?}"
                );
                assert_eq!(
                    sandbox.start().success().state(),
                    "verified",
                    "the next start is sound"
                );
            });
        }
    }
);

// An unreadable bounding set counts neither as empty nor as emptied.
sandbox_test!(
    promise_4_a_bounding_set_that_cannot_be_read_is_not_taken_for_empty,
    strace,
    |original| {
        let mut manifest = one_file(STATUS);
        manifest["service"]["no_new_privileges"] = json!(false);
        original.one_file(&[]).manifest(&manifest);
        let _ = original.launch().traced(&["prctl"]).start().success();
        let log = fs::read_to_string(original.path(TRACE)).unwrap();
        let calls = (1..).zip(log.lines().filter(|line| line.starts_with("prctl(")));
        let readings: Vec<usize> = calls
            .filter(|(_, call)| call.contains("PR_CAPBSET_READ, CAP_CHOWN"))
            .map(|(nth, _)| nth)
            .collect();
        assert!(
            readings.len() > 1,
            "asked before the drop, and to prove it\n{log}"
        );
        for nth in readings {
            for errno in ["EPERM", "EINVAL", "ENOSYS"] {
                let sandbox = original.another();
                sandbox.one_file(&[]).manifest(&manifest);
                let start = sandbox.launch().failing_at("prctl", errno, nth).start();
                if start.one_of(&[0, 77]) == 0 {
                    assert_eq!(
                        start.success().status("CapBnd"),
                        "0000000000000000",
                        "{errno} from call {nth}"
                    );
                } else {
                    start.failed(77, "bounding set");
                }
            }
        }
    }
);

// setresuid(2) changes one thread, so there must be no other. Here a forged /proc shows one.
sandbox_test!(a_second_thread_ends_the_start, |sandbox| {
    sandbox
        .one_file(&["true"])
        .directory("/proc/self/task/1", 0o755)
        .directory("/proc/self/task/2", 0o755);
    sandbox
        .launch()
        .without_proc()
        .start()
        .failed(77, "2 threads");
    sandbox.remove("/proc/self/task/2");
    let _ = sandbox.launch().without_proc().start().success();
});

/// A uid that no process of this machine has, and no other test takes while the value lives.
struct FreeUid {
    uid: u32,
    /// Bound to a name that only one process can have.
    _claim: UnixListener,
}

impl FreeUid {
    fn claim() -> Self {
        // The ids of an outer namespace end at 65,535.
        let free = (50_000..60_000).find_map(|uid| {
            let name = format!("sealinit-test-uid-{uid}");
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let claim = UnixListener::bind_addr(&address).ok()?;
            (!Self::is_used(uid)).then_some(Self { uid, _claim: claim })
        });
        free.expect("a uid that no process has")
    }

    fn is_used(uid: u32) -> bool {
        let uid = uid.to_string();
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .any(|pid| status(pid, "Uid").split(' ').any(|id| id == uid))
    }
}

/// Processes that sleep under a uid.
struct Crowd(Vec<Child>);

impl Crowd {
    fn of(uid: u32) -> Self {
        let sleep = || {
            let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
            let sleeping = ["setpriv", &uid, &gid, "--clear-groups", "sleep", "60"];
            Command::new(sleeping[0])
                .args(&sleeping[1..])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut crowd = Self((0..3).map(|_| sleep()).collect());
        for child in &mut crowd.0 {
            // It counts once it has the uid.
            let status = format!("/proc/{}/status", child.id());
            while !fs::read_to_string(&status)
                .is_ok_and(|status| status.contains(&format!("Uid:\t{uid}")))
            {
                assert!(child.try_wait().unwrap().is_none(), "sleep ended");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// The limit counts the processes of a uid on the whole machine, and is only enforced by the exec.
sandbox_test!(
    a_limit_of_processes_that_is_reached_is_explained,
    prlimit,
    |sandbox| {
        let free = FreeUid::claim();
        let uid = free.uid;
        let mut manifest = one_file(&["cat", CONF]);
        manifest["service"]["user"] = json!(uid);
        manifest["service"]["group"] = json!(uid);
        sandbox.one_file(&[]).manifest(&manifest);
        let crowd = Crowd::of(uid);
        for _ in ["first start", "later start"] {
            let failed = sandbox
                .launch()
                .wrapper(["prlimit", "--nproc=2"])
                .start()
                .code(126);
            assert_eq!(failed.stdout, "");
            failed.says("RLIMIT_NPROC").says(&uid.to_string());
        }
        drop(crowd);
        assert!(sandbox.exists(SEAL), "what was configured is configured");
        assert_eq!(
            sandbox
                .launch()
                .wrapper(["prlimit", "--nproc=2"])
                .start()
                .success()
                .stdout,
            CONTENT
        );
    }
);

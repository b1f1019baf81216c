//! Variables, pins and commands that the engine passes on.

use serde_json::Value;

use super::{HTTP, NGINX_RUNS, PAGE, serving};
use crate::harness::{Configuration, Image, docker_test};

// "`SEALINIT_*` variables never reach the service."
docker_test!(variables_of_sealinit_do_not_reach_the_service, {
    let configuration = Configuration::example("nginx");
    let options = "--env SEALINIT_LOG_FORMAT=json --env SEALINIT_LOG_LEVEL=debug \
         --env SEALINIT_UNKNOWN=1 --env COLOUR=blue";
    let container = Image::nginx()
        .run()
        .options(options)
        .configuration(&configuration)
        .arguments(&["run", "--", "cat", "/proc/1/environ"])
        .start();
    let environment = container.finished(0);
    assert!(
        environment
            .split('\0')
            .any(|variable| variable == "COLOUR=blue"),
        "{environment:?}"
    );
    assert!(!environment.contains("SEALINIT"), "{environment:?}");

    // One JSON object per line, and one of them is the summary.
    let stderr = container.logs().stderr;
    let own: Vec<Value> = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let summaries: Vec<_> = own
        .iter()
        .filter(|line| line.get("state").is_some())
        .collect();
    assert_eq!(summaries.len(), 1, "{stderr}");
    assert_eq!(summaries[0]["state"], "sealed");
    assert_eq!(summaries[0]["digest"], configuration.digest().as_str());
    assert!(!stderr.contains("sealinit: "), "no line is text: {stderr}");
});

// "So `sealinit digest` on the deploy host, the container's log line and the seal all show one
// value."
docker_test!(the_hosts_digest_pins_the_container, {
    let configuration = Configuration::example("nginx");
    configuration.make_certificate();
    let digest = configuration.digest();
    assert_eq!(digest.len(), "sha256:".len() + 64, "{digest}");
    let container = serving(&format!("--env SEALINIT_PIN={digest}"), &configuration);
    let summary = container.summary();
    assert_eq!(summary.get("digest"), digest);
    assert_eq!(summary.get("pin"), "ok");
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("pin"), "ok");
});

// "With a pin, no other manifest and no other content is ever installed or run."
docker_test!(
    another_configuration_than_the_pinned_one_changes_nothing_on_disk,
    {
        let configuration = Configuration::example("nginx");
        let digest = configuration.digest();
        let marked = |configuration: &Configuration| {
            Image::nginx()
                .run()
                .options(&format!("--env SEALINIT_PIN={digest}"))
                .configuration(configuration)
                .start()
        };
        configuration.replace("html/index.html", PAGE, "This page is another.");
        let refused = marked(&configuration);
        let summary = refused.refused(82, &["pin"], NGINX_RUNS);
        assert_eq!(summary.get("pin"), "mismatch");
        assert_eq!(summary.get("digest"), configuration.digest());

        // The changes of the engine's own mounts are also in a container that never ran sealinit.
        let bare = Image::nginx()
            .run()
            .options("--entrypoint /bin/true")
            .configuration(&configuration)
            .start();
        assert_eq!(bare.ended(), 0);
        assert_eq!(refused.changes(), bare.changes());
    }
);

// "A command after `--` takes the place of `service.command`, as CMD does."
docker_test!(
    a_command_from_the_engine_takes_the_place_of_the_manifests,
    {
        let configuration = Configuration::example("nginx");
        let container = Image::nginx()
            .run()
            .configuration(&configuration)
            .arguments(&["run", "--", "nginx", "-e", "stderr", "-T"])
            .start();
        container.finished(0);
        let logs = container.logs();
        assert!(logs.stderr.contains("test is successful"), "{logs:#?}");
        assert!(!logs.stderr.contains(NGINX_RUNS), "{logs:#?}");
        assert_eq!(
            container.summary().get("digest"),
            configuration.digest(),
            "CMD is not in the digest"
        );
        container.restart();
        container.finished(0);
        assert_eq!(container.summary().get("state"), "verified");

        let image = Image::nginx().with("CMD [\"run\", \"--\", \"id\", \"-un\"]");
        let container = image.run().configuration(&configuration).start();
        assert_eq!(container.finished(0), "www-data\n");
    }
);

// "other: the service's own" exit code, and 126 and 127 where there is none.
docker_test!(the_exit_code_is_that_of_the_service, {
    let configuration = Configuration::example("nginx");
    let start = |command: &[&str]| {
        let arguments = [&["run", "--"], command].concat();
        Image::nginx()
            .run()
            .configuration(&configuration)
            .arguments(&arguments)
            .start()
    };
    start(&["sh", "-c", "exit 42"]).finished(42);
    start(&["no-such-program"]).refused(127, &["no-such-program"], NGINX_RUNS);
    start(&["/etc/passwd"]).refused(126, &["/etc/passwd"], NGINX_RUNS);
});

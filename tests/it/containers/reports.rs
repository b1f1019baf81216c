//! Health checks, smoke tests of images, the service's own check, and Compose.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Configuration, Image, all_text, docker_test, on_host, poll, unique};

const VERIFY: [&str; 2] = ["/sbin/sealinit", "verify"];

// The README's health check.
docker_test!(a_container_that_was_tampered_with_becomes_unhealthy, {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let health = readme
        .lines()
        .find(|line| line.starts_with("HEALTHCHECK "))
        .unwrap();
    let often = health.replace("--interval=1m", "--interval=1s --retries=2");
    assert_ne!(often, health);
    let image = Image::nginx().with(&often);
    let configuration = Configuration::example("nginx");
    let container = image.run().configuration(&configuration).start();
    container.health("healthy");

    container.exec(&["sh", "-c", "echo '# tampered' >> /etc/nginx/nginx.conf"]);
    let said = container.health("unhealthy");
    assert!(said.contains("drift: 1 difference in "), "{said}");
    assert!(
        said.contains("changed /etc/nginx/nginx.conf: content: expected sha256:"),
        "{said}"
    );
    assert!(
        container.is_running(),
        "it is the orchestrator's to decide what becomes of it"
    );
});

// "Kubernetes exec probe and cron job inside; from the host with `--root /proc/PID/root`"
docker_test!(verify_says_the_same_inside_and_from_the_host, {
    let configuration = Configuration::example("nginx");
    let container = Image::nginx().run().configuration(&configuration).start();
    container.started();
    let from_host = || {
        let root = format!("/proc/{}/root", container.pid());
        on_host(["verify", "--root", &root])
    };
    let inside = container.try_exec(&VERIFY);
    assert_eq!(inside.status.code(), Some(0), "{}", all_text(&inside));
    assert_eq!(all_text(&from_host()), all_text(&inside));

    container.exec(&["chmod", "0644", "/etc/nginx/nginx.conf"]);
    let inside = container.try_exec(&VERIFY);
    assert_eq!(inside.status.code(), Some(1), "{}", all_text(&inside));
    assert!(
        all_text(&inside)
            .contains("changed /etc/nginx/nginx.conf: mode: expected 0440, found 0644\n")
    );
    assert_eq!(all_text(&from_host()), all_text(&inside));

    let by_service = container.try_exec_as("www-data", &VERIFY);
    assert_eq!(
        by_service.status.code(),
        Some(74),
        "{}",
        all_text(&by_service)
    );
    assert!(
        all_text(&by_service).starts_with("unknown: "),
        "{}",
        all_text(&by_service)
    );
});

// "With a pin, deleting or forging the seal, the manifest or a source by docker exec as root does
// not get another configuration run".
docker_test!(with_a_pin_no_forged_configuration_runs, {
    let attacks = [
        (
            "echo forged >> /etc/nginx/nginx.conf && rm -r /var/lib/sealinit && mkdir /tmp/m && cp -r /etc/sealinit/. /tmp/m && cp /etc/nginx/nginx.conf /tmp/m",
            80,
        ),
        ("sed -i s/1/2/ /var/lib/sealinit/seal", 81),
        (
            "cp -r /etc/sealinit /tmp/m && echo '# forged' >> /tmp/m/nginx.conf && rm -r /var/lib/sealinit \
          && /sbin/sealinit run --manifest /tmp/m/manifest.json --pin $(/sbin/sealinit digest --manifest /tmp/m/manifest.json) -- true",
            82,
        ),
    ];
    let configuration = Configuration::example("nginx");
    let pin = configuration.digest();
    for (attack, code) in attacks {
        let options = format!("--env SEALINIT_PIN={pin}");
        let container = Image::nginx()
            .run()
            .options(&options)
            .configuration(&configuration)
            .start();
        container.started();
        container.exec(&["sh", "-c", attack]);
        container.restart();
        if code == 80 {
            // Without the seal it is a first start, of the pinned configuration and of no other.
            container.started();
            assert_eq!(container.summary().get("pin"), "ok");
            assert!(
                !container
                    .exec(&["cat", "/etc/nginx/nginx.conf"])
                    .contains("forged")
            );
        } else {
            container.refused(
                code,
                &[if code == 81 {
                    "is invalid: "
                } else {
                    "not the pinned one"
                }],
                "start worker processes",
            );
        }
    }
});

// "the smoke test of an image"
docker_test!(check_tries_an_image_without_writing_anything, {
    let configuration = Configuration::example("nginx");
    let check = |configuration: &Configuration, code: i32| {
        let run = Image::nginx().run().configuration(configuration);
        let container = run.arguments(&["check", "--format", "json"]).start();
        let found: Value = serde_json::from_str(&container.finished(code)).unwrap();
        let mount_point = ["A /etc/sealinit", "C /etc"].map(str::to_owned);
        assert_eq!(
            container.changes(),
            mount_point.into(),
            "nothing is written, but by Docker"
        );
        found
    };
    let sound = check(&configuration, 0);
    assert_eq!(sound["errors"], Value::Array(vec![]), "{sound}");

    configuration.replace(
        "manifest.json",
        "\"command\": [\"nginx\"",
        "\"command\": [\"nginz\"",
    );
    configuration.replace(
        "manifest.json",
        "\"user\": \"www-data\"",
        "\"user\": \"www-data\", \"group\": \"no-such\"",
    );
    let unsound = check(&configuration, 1);
    let errors = unsound["errors"].as_array().unwrap();
    assert!(errors.iter().any(|error| error["code"] == 67), "{unsound}");
});

// The smoke test as the README prints it.
docker_test!(the_readmes_smoke_test_works_as_printed, {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut printed = readme
        .lines()
        .skip_while(|line| !line.starts_with("$ docker run --rm -v "))
        .map(str::to_owned);
    let command = printed
        .next()
        .unwrap()
        .replace("$ ", "")
        .replace(" sealinit-nginx ", &format!(" {} ", Image::nginx().id()));
    let configuration = Configuration::example("nginx");
    let mounted = configuration.path("").display().to_string();
    let command = command.replace(
        "$PWD/examples/nginx:",
        &format!("{}:", mounted.trim_end_matches('/')),
    );
    assert!(
        command.ends_with(" check") && command.contains(mounted.trim_end_matches('/')),
        "{command}"
    );
    let check = |code: i32| {
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", all_text(&output));
        all_text(&output)
    };
    let said = check(0);
    assert_eq!(said.lines().next(), printed.next().as_deref());

    configuration.replace(
        "manifest.json",
        "\"command\": [\"nginx\"",
        "\"command\": [\"nginz\"",
    );
    let said = check(1);
    assert!(
        said.starts_with("failed: 1 error, 0 warnings; a first start would be refused\n"),
        "{said}"
    );
    assert!(
        said.contains("\nerror cannot find the service's program nginz in PATH="),
        "{said}"
    );
});

// "what follows the image's name is a command line of sealinit's"
docker_test!(every_command_is_a_word_after_the_image, {
    let configuration = Configuration::example("nginx");
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["verify"],
            1,
            "unsealed: nothing is sealed in /var/lib/sealinit; the first sealinit run seals\n",
        ),
        (
            &["status"],
            0,
            "unsealed: nothing is sealed here; the first sealinit run seals\n",
        ),
        (&["plan", "--diff"], 0, "seal: "),
        (&["run", "--", "nginx", "-e", "stderr", "-t"], 0, ""),
        (
            &["--version"],
            0,
            concat!("sealinit ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
    ];
    for (words, code, said) in cases {
        let container = Image::nginx()
            .run()
            .configuration(&configuration)
            .arguments(words)
            .start();
        let stdout = container.finished(code);
        assert!(stdout.starts_with(said), "{words:?}: {stdout}");
    }
});

// A configuration that nginx rejects is never sealed.
docker_test!(nginx_checks_its_configuration_before_it_is_sealed, {
    let configuration = Configuration::example("nginx");
    let check = r#""version": 1, "check": [{"command": ["nginx", "-t", "-e", "stderr", "-c", "/etc/nginx/nginx.conf"]}]"#;
    configuration.replace("manifest.json", "\"version\": 1", check);
    let container = Image::nginx().run().configuration(&configuration).start();
    container.started();
    assert_eq!(container.summary().get("state"), "sealed");

    configuration.write("nginx.conf", "no_such_directive on;\n");
    let container = Image::nginx().run().configuration(&configuration).start();
    container.refused(
        84,
        &[
            "[emerg]",
            "unknown directive \"no_such_directive\"",
            "exit code 1",
        ],
        "start worker processes",
    );
});

// A Compose file with a pin.
docker_test!(compose_runs_the_pinned_configuration_and_no_other, {
    let configuration = Configuration::example("nginx");
    let directory = configuration.path("").display().to_string();
    let project = unique();
    let pin = configuration.digest();
    let file = configuration.path("..compose.yaml");
    let image = Image::nginx().id();
    let yaml = format!(
        "version: '3.4'\nservices:\n  web:\n    image: {image}\n    network_mode: none\n    container_name: {project}\n    \
         labels: [sealinit.test]\n    environment:\n      SEALINIT_PIN: {pin}\n    volumes:\n      - {directory}:/etc/sealinit:ro\n    \
         healthcheck:\n      test: [CMD, /sbin/sealinit, verify]\n      interval: 1s\n"
    );
    fs::write(&file, yaml).unwrap();
    let compose = |words: &[&str]| {
        let output = Command::new("docker-compose")
            .args(["--project-name", &project, "--file"])
            .arg(&file)
            .args(words)
            .output()
            .expect("docker-compose is needed for this test");
        assert!(output.status.success(), "{}", all_text(&output));
        all_text(&output)
    };
    let status = |format: &str| {
        let output = Command::new("docker")
            .args(["inspect", "--format", format, &project])
            .output()
            .unwrap();
        all_text(&output).trim_end().to_owned()
    };
    compose(&["up", "--detach"]);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        poll("a healthy container", || {
            (status("{{.State.Health.Status}}") == "healthy").then_some(())
        });
        assert!(compose(&["logs", "--no-color"]).contains(" pin=ok "));

        configuration.replace(
            "nginx.conf",
            "events {}",
            "# another configuration\nevents {}",
        );
        assert_ne!(configuration.digest(), pin);
        compose(&["up", "--detach", "--force-recreate"]);
        poll("the refusal", || {
            (status("{{.State.ExitCode}}") == "82").then_some(())
        });
        let logs = compose(&["logs", "--no-color"]);
        assert!(
            logs.contains("the configuration is not the pinned one"),
            "{logs}"
        );
    }));
    compose(&["down", "--volumes"]);
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
});

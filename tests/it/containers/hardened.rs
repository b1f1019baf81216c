//! The options with which operators harden containers.

use std::time::Duration;

use super::{FEW, HTTP, NGINX_RUNS, PAGE, TMPFS, TMPFS_OF_1000, WWW_DATA, serving};
use crate::harness::{CAPABILITY_SETS, Configuration, Image, docker_test};

// `--read-only`, with memory for what is written: a restart begins anew, and is a first start.
docker_test!(a_read_only_container_needs_tmpfs_alone, {
    let configuration = Configuration::example("nginx");
    let container = serving(&format!("--read-only {TMPFS}"), &configuration);
    assert_eq!(container.summary().get("state"), "sealed");
    let stderr = container.logs().stderr;
    let warned =
        |line: &str| line.starts_with("sealinit: warning: the state directory is on a tmpfs: ");
    assert!(stderr.lines().any(warned), "{stderr}");
    assert_eq!(container.summary().get("lock"), "full");
    container.status().is_without_privileges(WWW_DATA, WWW_DATA);
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("state"), "sealed");
});

// `--read-only`, with volumes for the same: a restart verifies.
docker_test!(a_read_only_container_with_volumes_verifies_its_restart, {
    let configuration = Configuration::example("nginx");
    let volumes = "--read-only --volume /etc/nginx --volume /srv --volume /run/nginx \
         --volume /var/cache/nginx --volume /var/lib/sealinit";
    let container = serving(volumes, &configuration);
    assert_eq!(container.summary().get("state"), "sealed");
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("state"), "verified");
    container.exec(&["sh", "-c", "echo >> /srv/www/index.html"]);
    container.restart();
    container.refused(80, &["/srv/www/index.html"], NGINX_RUNS);
});

// "every directory on the way is root's and not group- or world-writable, or the start is refused
// with the remedy": a tmpfs is world-writable where the image has no directory that gives it a
// mode.
docker_test!(a_world_writable_tmpfs_cannot_hold_what_is_sealed, {
    let configuration = Configuration::example("nginx");
    configuration.make_certificate();
    let start = |tmpfs| {
        Image::nginx()
            .run()
            .options(tmpfs)
            .configuration(&configuration)
            .start()
    };
    let container = start("--tmpfs /etc/nginx/tls");
    container.refused(73, &["/etc/nginx/tls", "1777"], NGINX_RUNS);
    let changes = container.changes();
    assert!(
        changes.iter().all(|change| !change.contains("/srv/www")),
        "{changes:?}"
    );

    let container = start("--tmpfs /etc/nginx/tls:mode=0755");
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("lock"), "full");
});

// "with `--cap-drop ALL --cap-add CHOWN --cap-add SETUID --cap-add SETGID` (+`SETPCAP` to empty the
// bounding set)".
docker_test!(
    three_capabilities_are_enough_and_a_fourth_empties_the_bounding_set,
    {
        let configuration = Configuration::example("nginx");

        let container = serving(&format!("{FEW} --cap-add SETPCAP"), &configuration);
        assert_eq!(container.summary().get("lock"), "full");
        container.status().is_without_privileges(WWW_DATA, WWW_DATA);
        container.restart();
        assert!(container.page(HTTP, &[]).contains(PAGE));
        container.status().is_without_privileges(WWW_DATA, WWW_DATA);

        let container = serving(
            &format!("{FEW} --env SEALINIT_LOG_LEVEL=debug"),
            &configuration,
        );
        assert_eq!(container.summary().get("lock"), "full");
        let status = container.status();
        status.is_user(WWW_DATA, WWW_DATA);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status.get(set), "0000000000000000", "{set}");
        }
        // CHOWN, SETGID and SETUID cannot be taken out of the bounding set; no_new_privs keeps them
        // from being gained.
        assert_eq!(status.get("CapBnd"), "00000000000000c1");
        assert!(
            container.logs().stderr.contains("CAP_SETPCAP"),
            "the debug log names the missing capability"
        );
    }
);

// "all of the missing privileges are named".
docker_test!(
    root_without_capabilities_is_refused_with_all_missing_ones,
    {
        let configuration = Configuration::example("nginx");
        let container = Image::nginx()
            .run()
            .options("--cap-drop ALL")
            .configuration(&configuration)
            .start();
        container.refused(77, &["CHOWN", "SETUID", "SETGID"], NGINX_RUNS);
        let stderr = container.logs().stderr;
        let all = |line: &str| {
            ["CHOWN", "SETUID", "SETGID"]
                .iter()
                .all(|name| line.contains(name))
        };
        assert!(
            stderr.lines().any(all),
            "one message names them all: {stderr}"
        );
        let changes = container.changes();
        assert!(
            changes.iter().all(|change| !change.contains("/srv/www")),
            "{changes:?}"
        );
    }
);

// "In pods that forbid root … entries must be owned by it, they are installed and verified but not
// locked, and the summary says `lock=none`."
docker_test!(
    without_root_the_configuration_is_installed_and_verified_but_not_locked,
    {
        let configuration = Configuration::example("nginx");
        configuration.replace(
            "manifest.json",
            "nginx.conf\"],\n    \"user\": \"www-data\"",
            "nginx.conf\"]",
        );
        configuration.owner(1000);
        let options = format!("--user 1000:1000 --read-only {TMPFS_OF_1000}");
        let container = serving(&options, &configuration);
        let summary = container.summary();
        assert_eq!(summary.get("state"), "sealed");
        assert_eq!(summary.get("lock"), "none");
        assert_eq!(summary.get("digest"), configuration.digest());
        container.status().is_user(1000, 1000);
        assert_eq!(
            container.exec(&["stat", "--format=%a %u %g", "/etc/nginx/nginx.conf"]),
            "440 1000 1000"
        );

        // Volumes outlive the start: the same without root verifies, and refuses what has drifted.
        let image = Image::nginx()
        .with("RUN mkdir /app /var/lib/sealinit && chown 1000:1000 /app /var/lib/sealinit && chmod 0755 /app");
        let configuration = Configuration::manifest(
            r#"{"version": 1, "service": {"command": ["sh", "-c", "cat /app/colour; echo ran"]},
            "files": [{"content": "blue\n", "dest": "/app/colour"}]}"#,
        );
        let container = image
            .run()
            .options("--user 1000:1000")
            .configuration(&configuration)
            .start();
        assert_eq!(container.finished(0), "blue\nran\n");
        assert_eq!(container.summary().get("lock"), "none");
        container.restart();
        assert_eq!(container.finished(0), "blue\nran\n");
        assert_eq!(container.summary().get("state"), "verified");
    }
);

// "`service.user` must be that uid": a container that may not change its user does not run the
// service as another one.
docker_test!(without_root_another_user_is_refused, {
    let configuration = Configuration::example("nginx");
    let container = Image::nginx()
        .run()
        .options("--user 1000")
        .configuration(&configuration)
        .start();
    container.refused(77, &["user id 33", "user id 1000", "--user"], NGINX_RUNS);
});

docker_test!(no_new_privileges_from_the_engine_changes_nothing, {
    let configuration = Configuration::example("nginx");
    let container = serving("--security-opt no-new-privileges", &configuration);
    assert_eq!(container.summary().get("lock"), "full");
    container.status().is_without_privileges(WWW_DATA, WWW_DATA);
});

// "as PID 1 or not": under `--init` the service is a child of Docker's init.
docker_test!(under_another_init_the_service_has_the_same_credentials, {
    let configuration = Configuration::example("nginx");
    let container = serving("--init", &configuration);
    assert_eq!(container.summary().get("state"), "sealed");
    assert_ne!(container.proc("1/comm"), "nginx\n");
    let children = container.proc("1/task/1/children");
    let service = children.split_whitespace().next().unwrap();
    assert_eq!(container.proc(&format!("{service}/comm")), "nginx\n");
    container
        .status_of(service)
        .is_without_privileges(WWW_DATA, WWW_DATA);
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("state"), "verified");
    assert!(container.stop() < Duration::from_secs(10));
    assert_eq!(container.ended(), 0);
});

// "capabilities": a kept one reaches the service, which needs it for a port below 1024.
docker_test!(a_kept_capability_lets_nginx_bind_port_80, {
    let configuration = Configuration::example("nginx");
    configuration.replace("nginx.conf", "listen 8080;", "listen 80;");
    // By default Docker allows every port to every user.
    let options = "--sysctl net.ipv4.ip_unprivileged_port_start=1024";
    let without = Image::nginx()
        .run()
        .options(options)
        .configuration(&configuration)
        .start();
    assert_eq!(without.ended(), 1, "{:#?}", without.logs());
    assert!(
        without
            .logs()
            .stderr
            .contains("bind() to 0.0.0.0:80 failed (13: Permission denied)")
    );

    configuration.replace(
        "manifest.json",
        "\"user\": \"www-data\"",
        "\"user\": \"www-data\", \"capabilities\": [\"NET_BIND_SERVICE\"]",
    );
    for options in [
        options.to_owned(),
        format!("{options} {FEW} --cap-add SETPCAP --cap-add NET_BIND_SERVICE"),
    ] {
        let container = Image::nginx()
            .run()
            .options(&options)
            .configuration(&configuration)
            .start();
        assert!(container.page("http://localhost/", &[]).contains(PAGE));
        let status = container.status();
        status.is_user(WWW_DATA, WWW_DATA);
        for set in CAPABILITY_SETS {
            assert_eq!(status.get(set), "0000000000000400", "{set}");
        }
    }

    let missing = Image::nginx()
        .run()
        .options(FEW)
        .configuration(&configuration)
        .start();
    missing.refused(77, &["NET_BIND_SERVICE"], NGINX_RUNS);
});

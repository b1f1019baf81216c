//! sealinit in real Docker containers, in front of real services, under the options that operators harden them with.
//!
//! Each test starts containers as the README does and asks the kernel, the engine and the service what came of it. All of them
//! are ignored by a plain `cargo test`, because they need an engine; `.ci/run` runs them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::engine::{Configuration, Container, Image, Volume, sealinit};
use crate::sandbox::CAPABILITY_SETS;

/// The uid and gid of www-data, on every Debian.
const WWW_DATA: u32 = 33;

/// nginx writes this when it starts, and at no other time.
const NGINX_RUNS: &str = "start worker processes";

const HTTP: &str = "http://localhost:8080/";
const HTTPS: &str = "https://localhost:8443/";
const PAGE: &str = "This page is sealed.";

/// The capabilities that a start needs, and no other.
const FEW: &str = "--cap-drop ALL --cap-add CHOWN --cap-add SETUID --cap-add SETGID";

/// What the example writes to, as memory: all that a read-only container needs. Where the image has no such directory, Docker
/// would make it world-writable, and sealinit would not seal anything in it: hence the modes.
const TMPFS: &str = "--tmpfs /etc/nginx:mode=0755 --tmpfs /srv:mode=0755 --tmpfs /run:mode=0755 \
     --tmpfs /var/cache/nginx:mode=0755 --tmpfs /var/lib/sealinit:mode=0700";

/// The same for a container that never has root: everything belongs to its user.
const TMPFS_OF_1000: &str = "--tmpfs /etc/nginx:uid=1000,gid=1000,mode=0755 \
     --tmpfs /srv:uid=1000,gid=1000,mode=0755 --tmpfs /run:uid=1000,gid=1000,mode=0755 \
     --tmpfs /var/cache/nginx:uid=1000,gid=1000,mode=0755 \
     --tmpfs /var/lib/sealinit:uid=1000,gid=1000,mode=0700";

/// The example's container: started, sealed, and serving its page.
fn serving(options: &str, configuration: &Configuration) -> Container {
    let container = Image::nginx()
        .run()
        .options(options)
        .configuration(configuration)
        .start();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    container
}

/// The digest that the deploy host computes.
fn digest(configuration: &Configuration) -> String {
    let output = Command::new(sealinit())
        .arg("digest")
        .arg("--manifest")
        .arg(configuration.path("manifest.json"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// "on the first start it reads a bind-mounted JSON manifest, installs and permission-locks the configuration, records a seal,
/// drops root for good and becomes the service".
#[test]
#[ignore = "needs root and a Docker engine"]
fn nginx_serves_http_and_https_from_sealed_files() {
    let configuration = Configuration::example("nginx");
    configuration.make_certificate();
    let container = serving("", &configuration);

    let authority = configuration.path("tls/cert.pem");
    let trusted = ["--cacert", authority.to_str().unwrap()];
    assert!(container.page(HTTPS, &trusted).contains(PAGE));

    let summary = container.summary();
    assert_eq!(summary.get("state"), "sealed");
    assert_eq!(summary.get("lock"), "full");
    assert_eq!(summary.get("pin"), "none");

    assert_eq!(container.proc("1/comm"), "nginx\n");
    container.status().is_without_privileges(WWW_DATA, WWW_DATA);

    for (path, expected) in [
        ("/etc/nginx/nginx.conf", "-r--r----- root www-data"),
        ("/etc/nginx/tls", "drwxr-xr-x root root"),
        ("/etc/nginx/tls/key.pem", "-r--r----- root www-data"),
        ("/srv/www", "dr-xr-x--- root www-data"),
        ("/srv/www/index.html", "-r--r----- root www-data"),
        ("/run/nginx", "drwxr-x--- www-data www-data"),
    ] {
        assert_eq!(container.stat(path), expected, "{path}");
    }
    let gone = container.try_exec(&["ls", "-d", "/etc/nginx/sites-enabled/default"]);
    assert!(!gone.status.success(), "the manifest calls it absent");

    let logs = container.logs();
    assert!(
        logs.stdout.contains("GET / HTTP"),
        "stdout is the service's: {}",
        logs.stdout
    );
    assert!(
        !logs.stdout.contains("sealinit:"),
        "sealinit logs to stderr: {}",
        logs.stdout
    );
    let key = fs::read_to_string(configuration.path("tls/key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!logs.stderr.contains(secret), "a secret is never printed");
}

/// "The service's uid cannot change a sealed entry, its directories, or the seal".
#[test]
#[ignore = "needs root and a Docker engine"]
fn the_service_cannot_change_what_is_sealed() {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    for attempt in [
        "echo >> /etc/nginx/nginx.conf",
        "chmod u+w /etc/nginx/nginx.conf",
        "rm -f /etc/nginx/nginx.conf",
        "mv /srv/www /srv/other",
        "touch /srv/www/new.html",
        "ln -sf /dev/null /srv/www/index.html",
        "ls /var/lib/sealinit",
    ] {
        let output = container.try_exec_as("www-data", &["sh", "-c", attempt]);
        assert!(!output.status.success(), "www-data could: {attempt}");
    }
    container.restart();
    assert_eq!(container.summary().get("state"), "verified");
}

/// "every later start proves that nothing has drifted".
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_restart_verifies_and_serves_again() {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    let sealed = container.summary().get("digest").to_owned();
    for _ in 0..2 {
        container.restart();
        assert!(container.page(HTTP, &[]).contains(PAGE));
        let summary = container.summary();
        assert_eq!(summary.get("state"), "verified");
        assert_eq!(summary.get("digest"), sealed);
        assert_eq!(summary.get("lock"), "full");
        container.status().is_without_privileges(WWW_DATA, WWW_DATA);
    }
}

/// "`docker stop`" reaches the service itself, because it is PID 1.
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_stop_reaches_the_service_at_once() {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    let took = container.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(container.ended(), 0);
}

/// "A refusal lists every drifted path with the attribute, expected and found."
#[test]
#[ignore = "needs root and a Docker engine"]
fn tampering_by_docker_exec_refuses_the_restart() {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    container.exec(&["sh", "-c", "echo '# tampered' >> /etc/nginx/nginx.conf"]);
    container.exec(&["chmod", "0644", "/srv/www/index.html"]);
    container.exec(&["chown", "www-data", "/srv/www"]);
    container.exec(&["sh", "-c", "echo > /srv/www/extra.html"]);

    container.restart();
    container.refused(
        80,
        &[
            "/etc/nginx/nginx.conf",
            "/srv/www/index.html",
            "mode",
            "0440",
            "0644",
            "/srv/www/extra.html",
            "owner",
        ],
        NGINX_RUNS,
    );
    assert!(
        !container.logs().stderr.contains("# tampered"),
        "content is never printed"
    );

    // Refused is not repaired: the next start finds the same.
    container.restart();
    container.refused(80, &["/etc/nginx/nginx.conf"], NGINX_RUNS);
}

/// "the sealed configuration runs and a warning says that recreating the container applies the new one".
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_new_configuration_takes_a_new_container() {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    let old = container.summary().get("digest").to_owned();

    configuration.replace("html/index.html", PAGE, "This page is new.");
    configuration.replace("nginx.conf", "listen 8080;", "listen 8081;");
    configuration.replace(
        "manifest.json",
        "\"version\": 1,",
        "\"version\": 1, \"x-change\": 7,",
    );
    container.restart();
    assert!(
        container.page(HTTP, &[]).contains(PAGE),
        "the old container keeps what is sealed"
    );
    assert_eq!(container.summary().get("state"), "verified");
    assert_eq!(container.summary().get("digest"), old);
    let stderr = container.logs().stderr;
    let warned = |line: &str| line.starts_with("sealinit: warning: ") && line.contains("recreat");
    assert!(stderr.lines().any(warned), "{stderr}");
    drop(container);

    let container = Image::nginx().run().configuration(&configuration).start();
    assert!(
        container
            .page("http://localhost:8081/", &[])
            .contains("This page is new.")
    );
    assert_eq!(container.summary().get("state"), "sealed");
    assert_eq!(container.summary().get("digest"), digest(&configuration));
    assert_ne!(container.summary().get("digest"), old);
}

/// "later starts run what the seal says (the mount may be gone)".
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_restart_needs_no_mounted_manifest() {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    for name in ["manifest.json", "nginx.conf", "html/index.html"] {
        fs::remove_file(configuration.path(name)).unwrap();
    }
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("state"), "verified");
}

/// A configuration is replaced with its container, data is not: Redis on a named volume.
#[test]
#[ignore = "needs root and a Docker engine"]
fn redis_keeps_its_data_when_its_container_is_recreated() {
    let data = Volume::new();
    let configuration = Configuration::example("redis");
    let start = || {
        let container = Image::redis()
            .run()
            .configuration(&configuration)
            .volume(&data, "/var/lib/redis")
            .start();
        container.answers("PONG", &["redis-cli", "ping"]);
        container
    };

    let container = start();
    assert_eq!(container.summary().get("state"), "sealed");
    let status = container.status();
    let uid = container.exec(&["id", "-u", "redis"]).parse().unwrap();
    let gid = container.exec(&["id", "-g", "redis"]).parse().unwrap();
    status.is_without_privileges(uid, gid);
    assert_eq!(status.get("Umask"), "0077");
    // Debian gives both to redis; what is sealed is root's now.
    assert_eq!(container.stat("/etc/redis"), "dr-xr-x--- root redis");
    assert_eq!(
        container.stat("/etc/redis/redis.conf"),
        "-r--r----- root redis"
    );
    assert_eq!(container.stat("/var/lib/redis"), "drwx------ redis redis");
    assert_eq!(
        container.exec(&["redis-cli", "set", "colour", "blue"]),
        "OK"
    );
    assert_eq!(
        container.exec(&["redis-cli", "config", "get", "maxmemory"]),
        "maxmemory\n67108864"
    );
    assert!(
        container
            .exec(&["redis-cli", "config", "rewrite"])
            .contains("Permission denied")
    );

    container.restart();
    container.answers("blue", &["redis-cli", "get", "colour"]);
    assert_eq!(container.summary().get("state"), "verified");
    let took = container.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(container.ended(), 0);
    drop(container);

    configuration.replace("conf/redis.conf", "maxmemory 64mb", "maxmemory 32mb");
    let container = start();
    assert_eq!(container.summary().get("state"), "sealed");
    assert_eq!(container.exec(&["redis-cli", "get", "colour"]), "blue");
    assert_eq!(
        container.exec(&["redis-cli", "config", "get", "maxmemory"]),
        "maxmemory\n33554432"
    );
}

/// The same with Postgres, which checks owners and modes of its own.
#[test]
#[ignore = "needs root and a Docker engine"]
fn postgres_keeps_its_data_when_its_container_is_recreated() {
    let data = Volume::new();
    let configuration = Configuration::example("postgres");
    let start = || {
        Image::postgres()
            .run()
            .configuration(&configuration)
            .volume(&data, "/var/lib/postgresql")
            .start()
    };
    let ask = |question| ["psql", "--no-align", "--tuples-only", "--command", question];

    let container = start();
    container.answers_as("postgres", "16MB", &ask("show shared_buffers"));
    assert_eq!(container.summary().get("state"), "sealed");
    let uid = container.exec(&["id", "-u", "postgres"]).parse().unwrap();
    let gid = container.exec(&["id", "-g", "postgres"]).parse().unwrap();
    container.status().is_without_privileges(uid, gid);
    assert_eq!(
        container.stat("/etc/postgresql/pg_hba.conf"),
        "-r--r----- root postgres"
    );
    container.answers_as(
        "postgres",
        "INSERT 0 1",
        &ask("create table colour (name text); insert into colour values ('blue')"),
    );
    container.restart();
    container.answers_as("postgres", "blue", &ask("select name from colour"));
    assert_eq!(container.summary().get("state"), "verified");
    container.stop();
    drop(container);

    configuration.replace(
        "conf/postgresql.conf",
        "shared_buffers = 16MB",
        "shared_buffers = 8MB",
    );
    let container = start();
    container.answers_as("postgres", "8MB", &ask("show shared_buffers"));
    container.answers_as("postgres", "blue", &ask("select name from colour"));
    assert_eq!(container.summary().get("state"), "sealed");
}

/// `--read-only`, with memory for what is written: a restart begins anew, and is a first start.
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_read_only_container_needs_tmpfs_alone() {
    let configuration = Configuration::example("nginx");
    let container = serving(&format!("--read-only {TMPFS}"), &configuration);
    assert_eq!(container.summary().get("state"), "sealed");
    let stderr = container.logs().stderr;
    let warned = |line: &str| line.starts_with("sealinit: warning: ") && line.contains("in memory");
    assert!(stderr.lines().any(warned), "{stderr}");
    assert_eq!(container.summary().get("lock"), "full");
    container.status().is_without_privileges(WWW_DATA, WWW_DATA);
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("state"), "sealed");
}

/// `--read-only`, with volumes for the same: a restart verifies.
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_read_only_container_with_volumes_verifies_its_restart() {
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
}

/// "every directory on the way is root's and not group- or world-writable, or the start is refused with the remedy": a tmpfs
/// is world-writable where the image has no directory that gives it a mode.
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_world_writable_tmpfs_cannot_hold_what_is_sealed() {
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
}

/// "with `--cap-drop ALL --cap-add CHOWN --cap-add SETUID --cap-add SETGID` (+`SETPCAP` to empty the bounding set)".
#[test]
#[ignore = "needs root and a Docker engine"]
fn three_capabilities_are_enough_and_a_fourth_empties_the_bounding_set() {
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
    // CHOWN, SETGID and SETUID cannot be taken out of the bounding set; no_new_privs keeps them from being gained.
    assert_eq!(status.get("CapBnd"), "00000000000000c1");
    assert!(
        container.logs().stderr.contains("CAP_SETPCAP"),
        "it says so, to who wants to know"
    );
}

/// "privilege lacking (all of what lacks is named)".
#[test]
#[ignore = "needs root and a Docker engine"]
fn root_without_capabilities_is_refused_and_told_what_it_lacks() {
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

/// "In pods that forbid root … entries must be owned by it, they are installed and verified but not locked, and the summary
/// says `lock=none`."
#[test]
#[ignore = "needs root and a Docker engine"]
fn without_root_the_configuration_is_installed_and_verified_but_not_locked() {
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
    assert_eq!(summary.get("digest"), digest(&configuration));
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

/// "`service.user` must be that uid": a container that may not change its user does not run the service as another one.
#[test]
#[ignore = "needs root and a Docker engine"]
fn without_root_another_user_is_refused() {
    let configuration = Configuration::example("nginx");
    let container = Image::nginx()
        .run()
        .options("--user 1000")
        .configuration(&configuration)
        .start();
    container.refused(77, &["user id 33", "user id 1000", "--user"], NGINX_RUNS);
}

#[test]
#[ignore = "needs root and a Docker engine"]
fn no_new_privileges_from_the_engine_changes_nothing() {
    let configuration = Configuration::example("nginx");
    let container = serving("--security-opt no-new-privileges", &configuration);
    assert_eq!(container.summary().get("lock"), "full");
    container.status().is_without_privileges(WWW_DATA, WWW_DATA);
}

/// "as PID 1 or not": under `--init` the service is a child of Docker's init.
#[test]
#[ignore = "needs root and a Docker engine"]
fn under_another_init_the_service_is_the_same() {
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
}

/// "in scratch, Alpine and Debian images": nothing is needed in the image but sealinit and the service.
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_scratch_image_needs_nothing_but_sealinit_and_a_static_service() {
    let service = StaticService::compile();
    let image = Image::scratch(&[("service", &service.path())]);
    let configuration = Configuration::manifest(
        r#"{"version": 1, "service": {"command": ["/service"], "user": 1000, "group": 1000},
            "files": [{"content": "colour = blue\n", "dest": "/etc/service/service.conf"}]}"#,
    );
    let container = image.run().configuration(&configuration).start();
    container.prints("service: colour = blue\n");
    let summary = container.summary();
    assert_eq!(summary.get("state"), "sealed");
    assert_eq!(summary.get("lock"), "full");
    assert_eq!(container.proc("1/comm"), "service\n");
    container.status().is_without_privileges(1000, 1000);

    container.restart();
    container.prints("service: colour = blue\n");
    assert_eq!(container.summary().get("state"), "verified");
    assert!(container.stop() < Duration::from_secs(10));
    assert_eq!(container.ended(), 3, "the service's own exit code");

    let tampered = configuration
        .write("tampered", "colour = red\n")
        .path("tampered");
    container.copy_in(&tampered, "/etc/service/service.conf");
    container.restart();
    container.refused(80, &["/etc/service/service.conf"], "service: ");
}

/// A static program that prints its configuration, waits for SIGTERM and ends with 3.
#[derive(Debug)]
struct StaticService(Configuration);

impl StaticService {
    fn compile() -> Self {
        let directory = Configuration::manifest("");
        directory.write(
            "service.c",
            "#include <signal.h>
             #include <stdio.h>
             int main(void) {
                 char text[64];
                 int number;
                 sigset_t term;
                 sigemptyset(&term);
                 sigaddset(&term, SIGTERM);
                 sigprocmask(SIG_BLOCK, &term, 0);
                 FILE *file = fopen(\"/etc/service/service.conf\", \"r\");
                 if (!file || !fgets(text, sizeof text, file)) return 1;
                 printf(\"service: %s\", text);
                 fflush(stdout);
                 sigwait(&term, &number);
                 return 3;
             }",
        );
        let compiled = Command::new("cc")
            .args(["-static", "-o"])
            .arg(directory.path("service"))
            .arg(directory.path("service.c"))
            .status()
            .unwrap();
        assert!(compiled.success());
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path("service")
    }
}

/// "capabilities": a kept one reaches the service, which needs it for a port below 1024.
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_kept_capability_lets_nginx_have_port_80() {
    let configuration = Configuration::example("nginx");
    configuration.replace("nginx.conf", "listen 8080;", "listen 80;");
    // Docker lets everybody have every port, unless told otherwise.
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

    let lacking = Image::nginx()
        .run()
        .options(FEW)
        .configuration(&configuration)
        .start();
    lacking.refused(77, &["NET_BIND_SERVICE"], NGINX_RUNS);
}

/// "`SEALINIT_*` variables never reach the service."
#[test]
#[ignore = "needs root and a Docker engine"]
fn the_service_never_sees_sealinits_variables() {
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
    let ours: Vec<Value> = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let summaries: Vec<_> = ours
        .iter()
        .filter(|line| line.get("state").is_some())
        .collect();
    assert_eq!(summaries.len(), 1, "{stderr}");
    assert_eq!(summaries[0]["state"], "sealed");
    assert_eq!(summaries[0]["digest"], digest(&configuration).as_str());
    assert!(!stderr.contains("sealinit: "), "no line is text: {stderr}");
}

/// "So `sealinit digest` on the deploy host, the container's log line and the seal all show one value."
#[test]
#[ignore = "needs root and a Docker engine"]
fn the_hosts_digest_pins_the_container() {
    let configuration = Configuration::example("nginx");
    configuration.make_certificate();
    let digest = digest(&configuration);
    assert_eq!(digest.len(), "sha256:".len() + 64, "{digest}");
    let container = serving(&format!("--env SEALINIT_PIN={digest}"), &configuration);
    let summary = container.summary();
    assert_eq!(summary.get("digest"), digest);
    assert_eq!(summary.get("pin"), "ok");
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("pin"), "ok");
}

/// "With a pin, no other manifest and no other content is ever installed or run."
#[test]
#[ignore = "needs root and a Docker engine"]
fn another_configuration_than_the_pinned_one_changes_nothing_on_disk() {
    let configuration = Configuration::example("nginx");
    let digest = digest(&configuration);
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
    assert_eq!(summary.get("digest"), self::digest(&configuration));

    // What the engine itself does to mount things is in the image of a container that never ran sealinit, too.
    let bare = Image::nginx()
        .run()
        .options("--entrypoint /bin/true")
        .configuration(&configuration)
        .start();
    assert_eq!(bare.ended(), 0);
    assert_eq!(refused.changes(), bare.changes());
}

/// "A command after `--` takes the place of `service.command`, as CMD does."
#[test]
#[ignore = "needs root and a Docker engine"]
fn a_command_from_the_engine_takes_the_place_of_the_manifests() {
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
        digest(&configuration),
        "CMD is not in the digest"
    );
    container.restart();
    container.finished(0);
    assert_eq!(container.summary().get("state"), "verified");

    let image = Image::nginx().with("CMD [\"run\", \"--\", \"id\", \"-un\"]");
    let container = image.run().configuration(&configuration).start();
    assert_eq!(container.finished(0), "www-data\n");
}

/// "other: the service's own" exit code, and 126 and 127 where there is none.
#[test]
#[ignore = "needs root and a Docker engine"]
fn the_exit_code_is_the_services_own() {
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
}

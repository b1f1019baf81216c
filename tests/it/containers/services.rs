//! nginx, Redis, Postgres and a static program: sealed, restarted, tampered with, recreated.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{HTTP, HTTPS, NGINX_RUNS, PAGE, WWW_DATA, serving};
use crate::harness::{Configuration, Image, Volume, docker_test};

// "on the first start it reads a bind-mounted JSON manifest, installs and permission-locks the
// configuration, records a seal, drops root for good and becomes the service".
docker_test!(nginx_serves_http_and_https_from_sealed_files, {
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
});

// "The service's uid cannot change a sealed entry, its directories, or the seal".
docker_test!(the_service_cannot_change_what_is_sealed, {
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
});

// "every later start proves that nothing has drifted".
docker_test!(a_restart_verifies_and_serves_again, {
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
});

// "`docker stop`" reaches the service itself, because it is PID 1.
docker_test!(a_stop_reaches_the_service_at_once, {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    let took = container.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(container.ended(), 0);
});

// "A refusal lists every drifted path with the attribute, expected and found."
docker_test!(tampering_by_docker_exec_refuses_the_restart, {
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

    // A refusal repairs nothing: the next start finds the same.
    container.restart();
    container.refused(80, &["/etc/nginx/nginx.conf"], NGINX_RUNS);
});

// "the sealed configuration runs and a warning says that recreating the container applies the new
// one".
docker_test!(a_new_configuration_applies_to_a_new_container, {
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
    assert_eq!(container.summary().get("digest"), configuration.digest());
    assert_ne!(container.summary().get("digest"), old);
});

// "later starts run what the seal says (the mount may be gone)".
docker_test!(a_restart_needs_no_mounted_manifest, {
    let configuration = Configuration::example("nginx");
    let container = serving("", &configuration);
    for name in ["manifest.json", "nginx.conf", "html/index.html"] {
        fs::remove_file(configuration.path(name)).unwrap();
    }
    container.restart();
    assert!(container.page(HTTP, &[]).contains(PAGE));
    assert_eq!(container.summary().get("state"), "verified");
});

// A configuration is replaced with its container, data is not: Redis on a named volume.
docker_test!(redis_keeps_its_data_when_its_container_is_recreated, {
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
    // Debian gives both to redis; the sealed ones belong to root now.
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
});

// The same with Postgres, which checks owners and modes of its own.
docker_test!(postgres_keeps_its_data_when_its_container_is_recreated, {
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
});

// "in scratch, Alpine and Debian images": nothing is needed in the image but sealinit and the
// service.
docker_test!(
    a_scratch_image_needs_nothing_but_sealinit_and_a_static_service,
    {
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
);

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

//! Real services in real Docker containers, started as an operator starts them.
//!
//! All of these tests are ignored by a plain `cargo test`, because they need an engine; `.ci/run`
//! runs them.

mod hardened;
mod options;
mod readme;
mod reports;
mod services;
mod supervised;

use crate::harness::{Configuration, Container, Image};

/// The uid and gid of www-data, on every Debian.
const WWW_DATA: u32 = 33;

/// nginx writes this when it starts, and at no other time.
const NGINX_RUNS: &str = "start worker processes";

const HTTP: &str = "http://localhost:8080/";
const HTTPS: &str = "https://localhost:8443/";
const PAGE: &str = "This page is sealed.";

/// The capabilities that a start needs, and no other.
const FEW: &str = "--cap-drop ALL --cap-add CHOWN --cap-add SETUID --cap-add SETGID";

/// The directories of the example that are written, as tmpfs: enough for a read-only container. If
/// the image does not have such a directory, Docker makes it world-writable, and sealinit seals
/// nothing in it: hence the modes.
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

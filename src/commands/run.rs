//! `sealinit run`: configures or verifies the container, then becomes the service.

use clap::Args;

use crate::commands::options::{LogOptions, RequestOptions};
use crate::error::Error;
use crate::report::summary::Summary;
use crate::report::termination_log;
use crate::service::Launched;
use crate::start;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: the service's own, or 66 source, 67 account, 70 bug, 73 installation, 74 state,
77 privileges, 78 manifest, 80 drift, 81 seal, 82 pin, 83 interrupted, 84 check, 126 not executable,
127 not found, 128+n signal n; 2 for wrong usage.

Example: sealinit run --manifest /etc/sealinit/manifest.json -- nginx -g 'daemon off;'")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    request: RequestOptions,
    /// Stay as PID 1 and supervise the service, whatever the manifest says
    #[arg(long)]
    supervise: bool,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

impl RunArgs {
    /// Starts the service; returns only if this process supervises it.
    ///
    /// # Errors
    /// Every error that stopped the start; all are logged already.
    pub(crate) fn run(self, mut summary: Summary) -> Result<Launched, Vec<Error>> {
        let request = self.request.into();
        start::start(&request, self.supervise, &mut summary).inspect_err(|errors| {
            summary.log_refusal(errors);
            termination_log::write(errors);
        })
    }
}

//! Aeron's driver, and both ends of its log.

use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use anyhow::{Context, ensure};
use rusteron_client::{
    AERON_IPC_STREAM, Aeron, AeronExclusivePublication, AeronOfferError, AeronSubscription,
    Handlers,
};
use rusteron_media_driver::bindings::aeron_threading_mode_t;
use rusteron_media_driver::testing::EmbeddedDriver;

use crate::crew::Crew;
use crate::idle::Idle;
use crate::line::{Receiving, Sending, one_way};
use crate::load::{Job, Sink, Source};

const STREAM: i32 = 1001;

/// How long to wait for the driver.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How many messages one poll may return.
const FRAGMENTS: usize = 256;

pub(super) fn build(job: &Job, term: usize, consumers: usize) -> anyhow::Result<Crew> {
    let folder = CString::new(job.folder.join("aeron").as_os_str().as_bytes())?;
    let sides = super::sides(consumers);
    let receiver = || {
        let folder = folder.clone();
        move || Subscriber::open(&folder, sides)
    };
    let receivers = (0..consumers).map(|_| receiver()).collect();
    let folder = folder.clone();
    Ok(one_way(job, move || Publisher::open(&folder, term, sides), receivers))
}

fn connect(folder: &CStr) -> anyhow::Result<Aeron> {
    Aeron::connect_dir(folder.to_str()?).context("connecting to the driver")
}

/// Nothing of it is dropped: closing a client is not measured, and the comparison's driver removes
/// its folder.
struct Publisher {
    publication: ManuallyDrop<AeronExclusivePublication>,
    _client: ManuallyDrop<Aeron>,
    _driver: ManuallyDrop<EmbeddedDriver>,
    idle: Idle,
}

impl Publisher {
    fn open(folder: &CStr, term: usize, sides: usize) -> anyhow::Result<Self> {
        let driver = EmbeddedDriver::launch_with(|driver| {
            driver.set_dir(folder)?;
            driver.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_SHARED)?;
            driver.set_ipc_term_buffer_length(term)?;
            driver.set_print_configuration(false)?;
            Ok(())
        });
        let driver = ManuallyDrop::new(driver.context("starting the driver")?);
        let client = ManuallyDrop::new(connect(folder)?);
        let publication = client
            .async_add_exclusive_publication(AERON_IPC_STREAM, STREAM)?
            .poll_blocking(TIMEOUT)
            .context("adding a publication")?;
        let publication = ManuallyDrop::new(publication);
        Ok(Self { publication, _client: client, _driver: driver, idle: Idle::new(sides) })
    }
}

impl Sending for Publisher {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        loop {
            match self.publication.try_claim_owned(source.next_len()) {
                Ok(mut claim) => {
                    source.write(claim.data());
                    claim.commit()?;
                    self.idle.reset();
                    return Ok(());
                }
                Err(AeronOfferError::BackPressured | AeronOfferError::AdminAction) => {
                    self.idle.wait();
                }
                Err(error) => return Err(error).context("claiming room"),
            }
        }
    }
}

struct Subscriber {
    subscription: ManuallyDrop<AeronSubscription>,
    _client: ManuallyDrop<Aeron>,
    idle: Idle,
}

impl Subscriber {
    fn open(folder: &CStr, sides: usize) -> anyhow::Result<Self> {
        let client = ManuallyDrop::new(connect(folder)?);
        let subscription = client
            .async_add_subscription(AERON_IPC_STREAM, STREAM, Handlers::NONE, Handlers::NONE)?
            .poll_blocking(TIMEOUT)
            .context("adding a subscription")?;
        let subscription = ManuallyDrop::new(subscription);
        Ok(Self { subscription, _client: client, idle: Idle::new(sides) })
    }
}

impl Receiving for Subscriber {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        loop {
            let found = self.subscription.poll_fn(|message, _| sink.read(message), FRAGMENTS)?;
            ensure!(found >= 0, "a poll found {found} messages");
            if found > 0 {
                self.idle.reset();
                return Ok(());
            }
            self.idle.wait();
        }
    }
}

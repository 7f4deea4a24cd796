use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use strata_spec::Name;
use tokio::sync::{Mutex, oneshot};

use super::LiveRegistry;
use crate::http::Refusal;

/// Tells the thread that follows the store what is to be served.
#[derive(Debug)]
pub(crate) struct Repository {
    commands: SyncSender<Command>,
    /// Held by the one that wakes a model: others wait for it, and then find theirs awake or ask in their turn.
    waking: Mutex<()>,
}

/// What the thread that follows the store is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// A wish of a caller, and where its answer is waited for.
    Obey {
        model: Name,
        wish: Wish,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// The store's folder has changed.
    Look,
}

/// Says that the store's folder has changed.
#[derive(Debug)]
pub(super) struct Waker(SyncSender<Command>);

impl Waker {
    pub(super) fn wake(&self) {
        // Where so many wishes wait the store is looked at anyway.
        let _ = self.0.try_send(Command::Look);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Serve it as the store says now.
    Load,
    /// Serve it no longer, until it is loaded.
    Unload,
    /// Have it in memory.
    Wake,
}

/// Why a wish was not fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The model is none of those that the server was told to serve.
    Unknown,
    /// There is no room in memory beside those that are busy.
    NoRoom,
    /// None of its versions, or not all of them, can be opened.
    Failed,
}

/// Wishes that may wait. To open a model may take long.
const WAITING: usize = 16;

impl Repository {
    pub(crate) fn new() -> (Self, Receiver<Command>) {
        let (sender, receiver) = sync_channel(WAITING);
        let repository = Self {
            commands: sender,
            waking: Mutex::new(()),
        };
        (repository, receiver)
    }

    pub(super) fn waker(&self) -> Waker {
        Waker(self.commands.clone())
    }

    /// Serves a model as the store says now. Done when its versions are served.
    pub(crate) async fn load(&self, model: &str) -> Result<(), Refusal> {
        self.ask(model, Wish::Load).await
    }

    /// Serves a model no longer. Requests that found it are still answered.
    pub(crate) async fn unload(&self, model: &str) -> Result<(), Refusal> {
        self.ask(model, Wish::Unload).await
    }

    /// Brings a model back into memory, once for all that wait for it.
    pub(crate) async fn wake(&self, registry: &LiveRegistry, model: &str) -> Result<(), Refusal> {
        let _turn = self.waking.lock().await;
        if !registry.current().is_asleep(model) {
            return Ok(());
        }
        self.ask(model, Wish::Wake).await
    }

    async fn ask(&self, model: &str, wish: Wish) -> Result<(), Refusal> {
        let unknown = || Refusal::NotFound(format!("no model `{}`", model.escape_debug()));
        let name: Name = model.parse().map_err(|_| unknown())?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Obey {
            model: name,
            wish,
            reply,
        };
        let stopping = || Refusal::Internal("the store is not followed any more");
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => Refusal::Busy("too many models are being loaded"),
                TrySendError::Disconnected(_) => stopping(),
            })?;
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refused::Unknown)) => Err(unknown()),
            Ok(Err(Refused::NoRoom)) => Err(Refusal::Busy("no room in memory for the model")),
            Ok(Err(Refused::Failed)) => Err(Refusal::NotServed(format!(
                "model `{model}` cannot be opened; see the server's log"
            ))),
            Err(_) => Err(stopping()),
        }
    }
}

//! Events of services, limited to what one may see.

use async_stream::stream;
use futures_util::stream::BoxStream;

use super::access::Principal;
use super::worker::stopped;
use super::{Control, ControlError, unavailable};
use crate::store::{EventFilter, StoredEvent};

/// Read from the store at a time while they are followed.
const PAGE: u32 = 200;

impl Control {
    /// Events of services on hosts in scope, in the order in which they happened.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn service_events(&self, who: &Principal, filter: &EventFilter) -> Result<Vec<StoredEvent>, ControlError> {
        let hosts = self.hosts_of(who)?;
        self.shared.database.service_events(filter, hosts.as_deref()).await.map_err(unavailable)
    }

    /// The same as they happen, from the one behind `after` on; without it, those that are yet to come. It ends with the token of
    /// `who`.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn follow_service_events(
        &self,
        who: &Principal,
        service: Option<String>,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, StoredEvent>, ControlError> {
        // First listen, then read: nothing falls between the two.
        let mut told = self.shared.database.events_told();
        let mut stopping = self.shared.stopping.subscribe();
        let end = self.shared.database.events_end().await.map_err(unavailable)?;
        // A number that was never given out comes from another life of the database.
        let mut after = after.filter(|after| (0..=end).contains(after)).unwrap_or(end);
        let (control, who) = (self.clone(), who.clone());
        Ok(Box::pin(stream! {
            loop {
                told.borrow_and_update();
                if !control.is_valid(&who).await {
                    return;
                }
                let filter = EventFilter { after: Some(after), service: service.clone(), limit: PAGE };
                // Whoever follows comes again with the last one it has.
                let Ok(events) = control.service_events(&who, &filter).await else { return };
                if !events.is_empty() {
                    for event in events {
                        after = event.position;
                        yield event;
                    }
                    continue;
                }
                tokio::select! {
                    () = stopped(&mut stopping) => return,
                    changed = told.changed() => if changed.is_err() { return },
                }
            }
        }))
    }
}

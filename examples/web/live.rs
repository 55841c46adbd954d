//! The live page: once a second both collectors are asked for their statistics, and everyone who looks gets the picture.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use actix_batch::prelude::*;
use actix_rt::task::JoinHandle;
use actix_web::web::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::interval;

use crate::panel::Panel;

/// Pieces of the page, by the id of the element that shows them.
pub(crate) type Picture = BTreeMap<String, String>;

/// The current picture, and the task that renews it.
#[derive(Debug)]
pub(crate) struct Live {
    template: String,
    picture: watch::Receiver<Picture>,
    painter: JoinHandle<()>,
}

impl Live {
    /// Paints the first picture, and then one each second. `template` has a `{{id}}` where each piece goes.
    pub(crate) async fn start<A: Job, B: Job>(
        template: String,
        mut first: (Collector<A>, Panel),
        mut second: (Collector<B>, Panel),
    ) -> Self {
        let (sender, mut picture) = watch::channel(Picture::new());
        let painter = actix_rt::spawn(async move {
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                let (Ok(one), Ok(two)) = (first.0.stats().await, second.0.stats().await) else { return };
                let mut picture = first.1.paint(&one);
                picture.extend(second.1.paint(&two));
                sender.send_replace(picture);
            }
        });
        // An error means that the collectors are closed already: then there is nothing to show.
        let _ = picture.changed().await;
        Self { template, picture, painter }
    }

    /// The page as it looks now; its script keeps it up to date.
    pub(crate) fn page(&self) -> String {
        let fill = |page: String, (id, piece): (&String, &String)| page.replace(&format!("{{{{{id}}}}}"), piece);
        self.picture.borrow().iter().fold(self.template.clone(), fill)
    }

    /// The pictures as server-sent events, from the current one on until [`end`](Self::end).
    pub(crate) fn events(&self) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        let mut pictures = self.picture.clone();
        pictures.mark_changed();
        unfold(pictures, async |mut pictures| {
            pictures.changed().await.ok()?;
            let picture = serde_json::to_string(&*pictures.borrow_and_update()).ok()?;
            Some((Ok(Bytes::from(format!("data: {picture}\n\n"))), pictures))
        })
    }

    /// Ends every event stream: an open page must not hold up the end of the service.
    pub(crate) fn end(&self) {
        self.painter.abort();
    }
}

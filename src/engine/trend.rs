//! Earlier points in time that the dump is judged with.

use std::sync::{Mutex, PoisonError};

use crate::analysis::judgement::case::Course;
use crate::pool::{Pool, Tag};
use crate::series::Comparison;

use super::Engine;
use super::diagnose::courses_of;

/// The course of each tag; empty without earlier points.
pub(super) type Courses = Vec<(Tag, Option<Pool>, Course)>;

/// The current courses.
#[derive(Debug, Default)]
pub(super) struct Trend {
    courses: Mutex<Courses>,
}

impl Engine {
    /// Sets the earlier points for later judgements; this dump is the last point. `None` removes
    /// them. Points of different boots show no trend.
    pub fn compare_with(&self, comparison: Option<&Comparison>) {
        let usable = comparison.filter(|c| c.same_boot != Some(false));
        let courses = usable.map_or_else(Vec::new, courses_of);
        *self
            .trend
            .courses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = courses;
    }

    /// The course of each tag.
    pub(super) fn courses(&self) -> Courses {
        let courses = self.trend.courses.lock();
        courses.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

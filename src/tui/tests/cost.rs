//! The cost of the screens on a slow line, in bytes.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::*;
use crate::tui::terminal::diff::{Capabilities, DiffBackend};

/// Collects the output since the last call.
#[derive(Clone, Default)]
struct Meter(Rc<RefCell<Vec<u8>>>);

impl Write for Meter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A desk whose output is counted.
struct Metered {
    desk: Desk,
    meter: Meter,
    backend: DiffBackend<Meter>,
    emulator: vt100::Parser,
}

const SIZE: (u16, u16) = (120, 40);

impl Metered {
    fn new(model: Model, prepare: impl Fn(&mut Desk)) -> Metered {
        let mut desk = Desk::with(model, FINE, SIZE);
        prepare(&mut desk);
        let meter = Meter::default();
        let mut metered = Metered {
            desk,
            backend: DiffBackend::new(meter.clone(), Capabilities::of("xterm-256color")),
            meter,
            emulator: vt100::Parser::new(SIZE.1, SIZE.0, 0),
        };
        metered.draw();
        metered
    }

    /// Draws as the main loop does and checks that an emulator shows the frame; returns the
    /// number of bytes sent.
    fn draw(&mut self) -> usize {
        let mut frame = Buffer::empty(Rect::new(0, 0, SIZE.0, SIZE.1));
        view::draw(&self.desk.app, &mut frame);
        self.backend.show(&frame).unwrap();
        let sent = self.meter.0.take();
        self.emulator.process(&sent);
        for y in 0..SIZE.1 {
            let cells = (0..SIZE.0).map(|x| frame[(x, y)].symbol());
            let shown = self.emulator.screen().contents_between(y, 0, y, SIZE.0);
            assert_eq!(shown.trim_end(), cells.collect::<String>().trim_end());
        }
        sent.len()
    }

    /// The median cost of a key, including its answers.
    fn median(&mut self, code: KeyCode, times: usize) -> usize {
        let mut costs: Vec<usize> = (0..times)
            .map(|_| {
                self.desk.press(code);
                self.desk.answer();
                self.draw()
            })
            .collect();
        costs.sort_unstable();
        costs[times / 2]
    }
}

fn tags() -> Metered {
    Metered::new(fixture::many_tags(3000), |desk| {
        desk.walked();
    })
}

fn screens() -> Vec<(&'static str, Metered)> {
    let open = |prepare: fn(&mut Desk)| {
        Metered::new(fixture::model(), |desk| {
            desk.blocks = 100_000;
            desk.walked();
            prepare(desk);
        })
    };
    let opened = [
        (
            "allocations",
            open(|desk| {
                desk.enter();
            }),
        ),
        (
            "bytes",
            open(|desk| {
                desk.enter().enter();
            }),
        ),
        (
            "pointers",
            open(|desk| {
                desk.enter().enter().press(KeyCode::Tab);
            }),
        ),
    ];
    let keyed = [("modules", "M"), ("summary", "v"), ("help", "?")];
    let keyed = keyed.map(|(name, key)| {
        let model = fixture::model();
        let screen = Metered::new(model, |desk| {
            desk.walked().keys(key);
        });
        (name, screen)
    });
    let mut all = vec![("tags", tags())];
    all.extend(opened);
    all.extend(keyed);
    all
}

#[test]
fn a_row_costs_few_bytes_on_the_screen_and_past_its_end() {
    for (name, mut screen) in screens() {
        let inside = screen.median(KeyCode::Down, 15);
        let scrolling = screen.median(KeyCode::Down, 41);
        let back = screen.median(KeyCode::Up, 41);
        println!("{name}: a row {inside}, scrolling {scrolling}, back {back} bytes");
        for cost in [inside, scrolling, back] {
            assert!(cost < 350, "{name}: {cost} bytes");
        }
    }
}

#[test]
fn a_page_costs_less_than_five_kilobytes() {
    for (name, mut screen) in screens() {
        let down = screen.median(KeyCode::PageDown, 9);
        let up = screen.median(KeyCode::PageUp, 9);
        println!("{name}: a page {down}, back {up} bytes");
        assert!(down.max(up) < 5000, "{name}: {down} and {up} bytes");
    }
}

#[test]
fn keys_without_effect_send_nothing() {
    for (name, mut screen) in screens() {
        assert_eq!(screen.draw(), 0, "{name}: drawn again");
        screen.desk.tell(Message::Resize(SIZE.0, SIZE.1));
        screen.desk.walked();
        assert_eq!(screen.draw(), 0, "{name}: news that say nothing new");
        screen.desk.press(KeyCode::Home);
        screen.draw();
        screen.desk.press(KeyCode::Home);
        assert_eq!(screen.draw(), 0, "{name}: at the start already");
    }
}

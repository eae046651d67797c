//! The `poolscope` binary.
use poolscope::engine::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    let o = Options {
        symbols: poolscope::symbols::SymbolPath::parse(a.get(2).map_or("", |s| s)),
        ..Default::default()
    };
    let e = match Engine::open(a[1].as_ref(), &o) {
        Ok(e) => e,
        Err(e) => {
            println!("{e}");
            return;
        }
    };
    println!(
        "open {:?} source {}",
        t.elapsed(),
        e.kernel().symbol_source()
    );
    println!("{:?}", e.trackers().total);
    println!("{:?} {:?}", e.trackers().notes, e.kernel().notes);
    println!("{:#?}", e.regions());
    let t = std::time::Instant::now();
    let s = e.index(Default::default()).unwrap();
    println!(
        "index {:?} {:?} {:?} {:?} listed {} damaged {} notes {:?}",
        t.elapsed(),
        s.totals.nonpaged_pages,
        s.totals.paged_pages,
        s.totals.free,
        s.totals.listed,
        s.totals.damaged.len(),
        s.notes
    );
    let mut bad = 0;
    for r in &e.trackers().rows {
        let f = s.totals.tag(r.tag);
        if f.nonpaged.blocks != r.nonpaged.outstanding
            || f.paged.blocks != r.paged.outstanding
            || f.nonpaged.bytes != r.nonpaged.bytes
            || f.paged.bytes != r.paged.bytes
        {
            bad += 1;
            if bad < 12 {
                println!(
                    "{} tracker {:?} {:?} found {:?}",
                    r.tag, r.nonpaged, r.paged, f
                );
            }
        }
    }
    println!("bad {bad} of {}", e.trackers().rows.len());
}

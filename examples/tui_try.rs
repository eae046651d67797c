fn main() {
    let a: Vec<String> = std::env::args().collect();
    let o = poolscope::engine::Options {
        symbols: poolscope::symbols::SymbolPath::parse(a.get(2).map_or("", |s| s)),
        ..Default::default()
    };
    if let Err(e) = poolscope::tui::run((std::path::PathBuf::from(&a[1]), o), Default::default()) {
        if !e.is_silent() {
            eprintln!("error: {e}");
        }
        std::process::exit(e.exit_code().into());
    }
}

//! Repeats within a source's window are not stored, and how many there were is told.

use super::stage::Stage;

const S: i64 = 1_000_000_000;

/// Scenario: a line comes five times within its window, another once, and the first again when the
/// window is over; nothing more comes after that.
/// Guarantees: one of the five is stored, their number is told once, by time alone; what did not
/// repeat is not told.
#[test]
fn the_number_of_repeats_is_told_when_the_window_closes() {
    let stage = Stage::new("", &[("gate", 10 * S)]);
    let line = |text: &str| vec![text.to_owned()];
    let first = stage.send("gate", &line("door opened"));
    stage.send("gate", &line("door closed"));
    for _ in 0..4 {
        stage.tick();
        stage.send("gate", &line("door opened"));
    }
    for _ in 0..12 {
        stage.tick();
    }
    let later = stage.send("gate", &line("door opened"));
    for _ in 0..12 {
        stage.tick();
    }
    let heard = stage.run(2, None, 0);
    assert_eq!(heard.repeats, [(first, 5)]);
    let kept: Vec<u64> = heard.rows.iter().filter(|(_, kept)| *kept).map(|(at, _)| *at).collect();
    assert_eq!(kept, [first, first + 1, later]);
}

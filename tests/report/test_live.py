"""The report is written again whenever a run has stored something, and once more at the end."""

import synthetic

from mbrl_jax.commands import live
from mbrl_jax.report import build


def test_it_is_written_when_something_was_stored_and_only_then(write, tmp_path, capsys):
    calls, turns = [], []

    def pause(seconds):
        turns.append(seconds)
        if len(turns) == 2:
            write("mbpo", status="running", metrics=synthetic.learning_curve([0, 1], 2500, 1, 100, 0.0))
        if len(turns) == 4:
            write("mbpo", status="finished")
        if len(turns) == 6:
            raise KeyboardInterrupt

    live.follow(calls.append, tmp_path, 3.0, pause=pause)
    assert calls == [3.0, 3.0, 3.0, None] and turns == [3.0] * 6
    said = capsys.readouterr().out
    assert said.count("no run is going on") == 2
    assert "running      mbpo on inverted_pendulum-v4: 2,500 steps, return 100.0" in said


def test_the_page_reads_itself_again_only_while_live(write, tmp_path):
    write("mbpo")
    assert '<meta http-equiv="refresh" content="15">' in build([], tmp_path, refresh=15.0).read_text()
    assert "http-equiv" not in build([], tmp_path).read_text()

"""`segvoc serve` with a project and with Label Studio."""

from tests.cli.command import Command


def test_label_studio_and_its_token_come_together(segvoc_command: Command, served, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("a-token\n")
    monkeypatch.setenv("SEGVOC_LABEL_STUDIO_TOKEN", "of the environment".replace(" ", "-"))
    assert segvoc_command("serve").code == 0
    assert segvoc_command("serve", "--label-studio", "http://labels.example").code == 0
    studio = ("--label-studio", "http://labels.example", "--label-studio-token-file", "token")
    segvoc_command("serve", *studio).refused("both SEGVOC_LABEL_STUDIO_TOKEN and --label-studio-token-file")
    monkeypatch.delenv("SEGVOC_LABEL_STUDIO_TOKEN")
    assert segvoc_command("serve", *studio).code == 0
    added = [settings.extensions[0].settings for (_, settings), _ in served]
    found = [(one.label_studio, one.label_studio_token) for one in added]
    assert found == [
        (None, None),
        ("http://labels.example", "of-the-environment"),
        ("http://labels.example", "a-token"),
    ]
    segvoc_command("serve", "--label-studio", "http://labels.example").refused("SEGVOC_LABEL_STUDIO_TOKEN")
    segvoc_command("serve", "--label-studio-token-file", "token").refused("without its address")

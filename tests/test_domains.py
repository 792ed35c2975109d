import pytest

from zodi.domains import PRESETS, Domain, find_domain
from zodi.errors import SettingsError


def test_presets_are_the_originals():
    assert {d.name: (d.full_prompt, d.strength) for d in PRESETS.values()} == {
        "night": ("driving at night, best quality", 0.90),
        "snow": ("driving in snow, best quality", 0.65),
        "rain": ("driving under rain, best quality", 0.65),
        "fog": ("driving in fog, best quality", 0.60),
        "game": ("driving in a game, best quality", 0.60),
    }
    assert all(
        d.negative_prompt == "lower quality, worst quality" and "2403.13652" in d.source for d in PRESETS.values()
    )


def test_a_domain_from_toml(tmp_path):
    path = tmp_path / "dusk.toml"
    path.write_text('prompt = "driving at dusk"\nstrength = 0.7\nadded_prompt = ""\n')
    assert find_domain(str(path)) == Domain("dusk", "driving at dusk", 0.7, added_prompt="")
    assert find_domain(str(path)).full_prompt == "driving at dusk"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('prompt = "x"\nstrenght = 0.5\n', "unknown key 'strenght', known are name, prompt, strength"),
        ('prompt = "x"\n', "'strength' is missing"),
        ("prompt = 3\nstrength = 0.5\n", "prompt = 3 is not a string"),
        ('prompt = "x"\nstrength = "high"\n', "strength = 'high' is not a number"),
        ('prompt = "x"\nstrength = 1.0\n', "0 < strength < 1"),
        ('prompt = " "\nstrength = 0.5\n', "empty prompt"),
        ('name = "a/b"\nprompt = "x"\nstrength = 0.5\n', "folder name"),
        ("prompt = \n", "not valid TOML"),
    ],
)
def test_a_wrong_toml_says_what_is_wrong(tmp_path, text, says):
    path = tmp_path / "d.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=says) as caught:
        find_domain(str(path))
    assert str(path) in str(caught.value)


def test_unknown_domain():
    with pytest.raises(SettingsError, match=r"unknown domain 'dusk': allowed are night, snow, rain, fog, game"):
        find_domain("dusk")
    with pytest.raises(SettingsError, match="cannot be read"):
        find_domain("missing.toml")

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


@pytest.mark.parametrize(
    "text",
    ["(night:1.4)", "(wet road:2)", "((fog))", "<lora:rain_v2:0.8>", "[snow|rain]", "[day:night:0.5]", "[day:9]",
     "(a: .5)", "{red|blue}", "BREAK", "(two lanes:-0.5)"],
)  # fmt: skip
def test_syntax_of_web_uis_is_told(text):
    warning = Domain("dusk", f"driving at dusk, {text}", 0.5).warning
    assert repr(text) in warning and "'dusk'" in warning and "\n" not in warning
    assert repr(text) in Domain("dusk", "driving", 0.5, negative_prompt=f"blurred {text}").warning


@pytest.mark.parametrize(
    "text",
    ["driving at night (in a city)", "a road (at 23:30)", "wide (16:9)", "(ratio 3:1)", "(lanes: 2)", "[sic]", "a:b",
     "rain, snow: both", "a < b", "half (or more) of it, (twice)", "break of day", "{x}", "(e.g. a car: red)"],
)  # fmt: skip
def test_plain_english_is_not(text):
    assert Domain("dusk", text, 0.5).warning is None
    assert all(preset.warning is None for preset in PRESETS.values())

"""What a template resource may say, what is said of a bad one, and what a template can do."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.agent.templates.functions import Keys, ResourceTemplate, check_templates
from argosy.agent.templates.loading import read_files
from argosy.agent.templates.resources import Resource, is_resource, parse_resource, parse_set
from argosy.errors import ConfigError
from argosy.etcd.values import Entry

FILES = PurePosixPath("/var/lib/air/files")
SOURCES = {"web.conf.j2": "", "inner/part.j2": ""}
LEAST = 'src = "web.conf.j2"\ndest = "web/web.conf"\nkeys = ["/settings"]\n'


def parsed(body: str, **changed: str) -> Resource:
    return parse_resource("conf.d/web.toml", f"[template]\n{body}".encode(), FILES, SOURCES)


def refused(body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parsed(body)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def entries(**values: str) -> dict[str, Entry]:
    keys = {f"/{name.replace('__', '/')}": value for name, value in values.items()}
    return {key: Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), 1)}


def rendered(source: str, held: dict[str, Entry], keys: str = '["/"]', prefix: str = "", **more: str) -> str:
    body = f'src = "main"\ndest = "x"\nkeys = {keys}\nprefix = "{prefix}"\n'
    sources = {"main": source, **more}
    resource = parse_resource("conf.d/x.toml", f"[template]\n{body}".encode(), FILES, sources)
    facts = {"system": "air", "machine_name": "air-01"}
    return ResourceTemplate(resource, sources, facts).render(held).decode(errors="surrogateescape")


def fails(source: str, held: dict[str, Entry] | None = None, keys: str = '["/"]', **more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        rendered(source, held or {}, keys, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The resource


def test_the_least_that_a_resource_says() -> None:
    found = parsed(LEAST)
    assert found.dest == FILES / "web/web.conf"
    assert (found.keys, found.prefix, found.mode) == (("/settings",), "", 0o644)
    assert (found.owner, found.group, found.check_cmd, found.reload_cmd) == ("", "", "", "")


def test_everything_that_a_resource_can_say() -> None:
    found = parsed(
        """
        src = "inner/part.j2"
        dest = "/var/lib/air/files/web/web.conf"
        prefix = "/settings/"
        keys = ["web", "/banner/"]
        uid = 65534
        group = "adm"
        mode = "0640"
        check_cmd = "web -t {{.src}} {{ src }}"
        reload_cmd = "echo {{.dest}} && argosy-signal air-web HUP"
        """
    )
    assert found.keys == ("/settings/web", "/settings/banner")
    assert (found.owner, found.group, found.mode) == (65534, "adm", 0o640)
    assert found.command(found.check_cmd, "/a/.b") == "web -t /a/.b /a/.b"
    assert found.command(found.reload_cmd) == f"echo {found.dest} && argosy-signal air-web HUP"


@pytest.mark.parametrize(
    ("keys", "yes", "no"),
    [
        ('["/a"]', ["/a", "/a/b", "/a/b/c"], ["/ab", "/", "/b"]),
        ('["/a/"]', ["/a", "/a/b"], ["/ab"]),
        ('["/"]', ["/a", "/a/b"], []),
        ('["a", "b/c"]', ["/a/x", "/b/c"], ["/b", "/b/cd"]),
    ],
)
def test_a_resource_concerns_its_keys_and_all_below_them(keys: str, yes: list[str], no: list[str]) -> None:
    found = parsed(f'src = "web.conf.j2"\ndest = "x"\nkeys = {keys}\n')
    assert [key for key in yes + no if found.concerns(key)] == yes


def test_a_resource_may_begin_with_a_byte_order_mark() -> None:
    content = f"\ufeff[template]\n{LEAST}".encode()
    assert parse_resource("conf.d/web.toml", content, FILES, SOURCES).keys == ("/settings",)


def test_a_number_that_python_does_not_read_spoils_no_other_resource() -> None:
    good, bad = (f"[template]\n{LEAST}{more}".encode() for more in ("", f"uid = {'9' * 5000}\n"))
    found = parse_set({"conf.d/a.toml": good, "conf.d/b.toml": bad, "templates/web.conf.j2": b""}, FILES)
    assert [resource.name for resource in found.resources] == ["conf.d/a.toml"]
    assert [problem.resource for problem in found.problems] == ["conf.d/b.toml"]


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        (LEAST + 'relaod_cmd = "x"\n', 5, "unknown key 'relaod_cmd' (did you mean 'reload_cmd'?)"),
        (LEAST + "mode = 644\n", 5, "mode must be a string"),
        (LEAST + 'mode = "888"\n', 5, "mode '888' is not octal"),
        (LEAST + 'mode = "4755"\n', 5, "not octal with three digits"),
        (LEAST + 'owner = "root"\nuid = 0\n', 6, "either owner or uid"),
        (LEAST + "uid = true\n", 5, "uid must be a number"),
        (LEAST + "gid = -1\n", 5, "gid must be 0 or more"),
        (LEAST + 'owner = "99999999999999"\n', 5, "owner must be 0 or more, and below"),
        (LEAST + 'check_cmd = "x {{.scr}}"\n', 5, "check_cmd knows {{.src}} and {{.dest}}, not {{.scr}}"),
        (LEAST + 'reload_cmd = "x {{.src}}"\n', 5, "reload_cmd knows {{.dest}}"),
        ('src = "web.conf.j"\ndest = "x"\nkeys = ["/"]\n', 2, "no template templates/web.conf.j (did you mean"),
        ('dest = "x"\nkeys = ["/"]\n', 1, "src is missing"),
        ('src = "web.conf.j2"\ndest = "x"\nkeys = []\n', 4, "keys is missing"),
        ('src = "web.conf.j2"\ndest = "x"\nkeys = [1]\n', 4, "keys must be a list of strings"),
        ('src = "web.conf.j2"\ndest = "x"\nkeys = ["/routers/air-01"]\n', 4, "does not follow /routers/air-01"),
        ('src = "web.conf.j2"\ndest = "x"\nkeys = ["/cluster"]\n', 4, "does not follow /cluster"),
        ('src = "web.conf.j2"\ndest = "/etc/passwd"\nkeys = ["/"]\n', 3, "shares only /var/lib/air/files with"),
        ('src = "web.conf.j2"\ndest = "/var/lib/air/files"\nkeys = ["/"]\n', 3, "is outside"),
        ('src = "web.conf.j2"\ndest = "/var/lib/air/files/../x"\nkeys = ["/"]\n', 3, "without . and .."),
        ('src = "web.conf.j2"\ndest = "a/./b"\nkeys = ["/"]\n', 3, "without . and .."),
        ('src = "web.conf.j2"\ndest = "a b"\nkeys = ["/"]\n', 3, "is no path that we take"),
        ('src = "web.conf.j2"\ndest = "a/$(id)"\nkeys = ["/"]\n', 3, "is no path that we take"),
        ('src = "web.conf.j2"\ndest = "a/"\nkeys = ["/"]\n', 3, "is no path that we take"),
        (LEAST + "[other]\n", 5, "unknown key 'other'"),
    ],
)
def test_a_bad_resource_is_told_with_file_line_and_reason(body: str, line: int, said: str) -> None:
    message = refused(body)
    assert message.startswith(f"conf.d/web.toml:{line}: ")
    assert said in message


@pytest.mark.parametrize(
    "content", [b"", b"template = 1", b"[template", b"[template]\nsrc = \xff", b"a = " + b"[" * 9999]
)
def test_what_is_no_resource_at_all_is_told(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^conf\.d/web\.toml"):
        parse_resource("conf.d/web.toml", content, FILES, SOURCES)


def test_bad_toml_says_in_which_line() -> None:
    assert "line 3" in refused('src = "a"\ndest = \n')


def test_one_bad_resource_spoils_no_other() -> None:
    good = f"[template]\n{LEAST}".encode()
    files = {"conf.d/bad.toml": b"[", "conf.d/good.toml": good, "templates/web.conf.j2": b"x", "conf.d/README": b""}
    found = parse_set(files, FILES, "example/")
    assert [resource.name for resource in found.resources] == ["conf.d/good.toml"]
    assert [problem.resource for problem in found.problems] == ["conf.d/bad.toml"]
    assert found.problems[0].reason.startswith("example/conf.d/bad.toml: it is no TOML")


def test_two_resources_with_one_dest_are_both_refused() -> None:
    absolute = LEAST.replace('"web/', '"/var/lib/air/files/web/')
    files = {f"conf.d/{name}.toml": f"[template]\n{body}".encode() for name, body in (("a", LEAST), ("b", absolute))}
    found = parse_set({**files, "templates/web.conf.j2": b""}, FILES)
    assert found.resources == ()
    assert "conf.d/b.toml makes /var/lib/air/files/web/web.conf, too" in found.problems[0].reason
    assert "conf.d/a.toml makes" in found.problems[1].reason


def test_only_toml_files_of_conf_d_are_resources() -> None:
    yes = ["conf.d/a.toml", "conf.d/a/b.toml", "conf.d/a/b/c.toml"]
    no = ["conf.d/a.toml~", "conf.d/.a.toml", "conf.d/.a/b.toml", "templates/a.toml", "a.toml", "conf.d/.toml"]
    assert [path for path in yes + no if is_resource(path)] == yes


@given(st.text())
def test_a_dest_never_leaves_the_folder(dest: str) -> None:
    sources = {"a": ""}
    quoted = "".join(f"\\U{ord(char):08X}" for char in dest if not 0xD800 <= ord(char) < 0xE000)
    body = f'[template]\nsrc = "a"\nkeys = ["/"]\ndest = "{quoted}"\n'
    try:
        found = parse_resource("conf.d/a.toml", body.encode(), FILES, sources)
    except ConfigError:
        return
    assert FILES in found.dest.parents
    assert ".." not in found.dest.parts


@given(st.binary())
def test_any_bytes_are_a_resource_or_a_problem(content: bytes) -> None:
    found = parse_set({"conf.d/a.toml": content, "templates/a": content}, FILES)
    assert len(found.resources) + len(found.problems) == 1


# The example's own


@pytest.mark.parametrize("system", ["air", "shop"])
def test_the_example_s_file_is_json_with_every_backend_and_goes_to_any_system(system: str) -> None:
    files = read_files(Path(__file__).resolve().parents[3] / "example/templates")
    found = parse_set(files, PurePosixPath("/var/lib", system, "files"))
    check_templates(found.sources)
    assert found.problems == ()
    ((resource),) = found.resources
    assert str(resource.dest) == f"/var/lib/{system}/files/frontend/backends.json"
    template = ResourceTemplate(resource, found.sources, {})
    assert json.loads(template.render({})) == {"banner": "", "backends": []}
    held = entries(settings__banner='<"Hi">', services__backend__scheme="http")
    held |= entries(services__backend__hosts__b="10.0.0.2:8081", services__backend__hosts__a="10.0.0.1:8081")
    wanted = {"banner": '<"Hi">', "backends": ["10.0.0.1:8081", "10.0.0.2:8081"]}
    assert json.loads(template.render(held)) == wanted


# The template


HELD = entries(settings__banner="Hi", services__web__hosts__b="10.0.0.2:80", services__web__hosts__a="10.0.0.1:80")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ getv('/settings/banner') }}", "Hi"),
        ("{{ getv('/settings/none', 'else') }}", "else"),
        ("{{ get('/settings/banner').key }}={{ get('/settings/banner').value }}", "/settings/banner=Hi"),
        ("{% for it in gets('/services/web/hosts/*') %}{{ it.key }};{% endfor %}",
         "/services/web/hosts/a;/services/web/hosts/b;"),
        ("{{ getvs('/services/*/hosts/*') | join(',') }}", "10.0.0.1:80,10.0.0.2:80"),
        ("{{ getvs('/services/*') | length }}", "0"),
        ("{{ ls('/services/web') | join }} {{ ls('/services/web/hosts') | join }}", "hosts ab"),
        ("{{ ls('/') | join(',') }} {{ lsdir('/settings') | length }} {{ lsdir('/services') | join }}",
         "services,settings 0 web"),
        ("{{ exists('/settings/banner') }} {{ exists('/settings') }}", "true false"),
        ("{{ json('{\"a\": [1, 2]}').a[1] }}", "2"),
        ("{{ base64Decode(base64Encode('\u00e4')) }}", "\u00e4"),
        ("{{ system }} {{ machine_name }}", "air air-01"),
        ("{{ {'a': getv('/settings/banner')} | tojson }}\n", '{"a": "Hi"}\n'),
        ("{% if true %}\nx\n{% endif %}\n", "x\n"),
    ],
)  # fmt: skip
def test_what_a_template_can_do(source: str, text: str) -> None:
    assert rendered(source, HELD) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ getvs('/u/*') | join(',') }}", "10.0.0.1,10.0.0.2,10.0.0.9"),
        ("{% for it in gets('/u/*') %}{{ it.value }} {% endfor %}", "10.0.0.9 10.0.0.2 10.0.0.1 "),
        ("{{ getvs('/u/[^b]') | join(',') }}", "10.0.0.1,10.0.0.9"),
        ("{{ getvs('/u/[!b]') | join(',') }}", "10.0.0.2"),
        ("{{ getvs('/?/[a-b]') | join(',') }}", "10.0.0.2,10.0.0.9"),
        ("{{ getvs('/u/\\\\*') | length }}", "0"),
        ("{{ getvs('/*') | length }} {{ getvs('u/a') | length }}", "0 0"),
        ("{{ ls('/u/a') | join }} {{ ls('/u') | join }} {{ ls('/u/') | join }} {{ ls('/none') | join }}", "a abc abc "),
        ("{{ json('{\"a\": true, \"b\": null}').a }}", "true"),
        ("{{ json('{\"a\": true, \"b\": null}').b }} {{ json('[false]')[0] }} {{ json('2') == 2 }}", "null false true"),
        ("{% if json('false') %}x{% else %}y{% endif %}", "y"),
        ("{{ map('a', 1, 'b', 'x').b }}", "x"),
        ("{{ base('/a/b') }} {{ base('/a/b/') }} {{ base('/') }} {{ base('') }}", "b b / ."),
        ("{{ dir('/a/b') }} {{ dir('/a/b/') }} {{ dir('/a') }} {{ dir('a') }} {{ dir('') }}", "/a /a/b / . ."),
        ("{{ contains('abc', 'b') }} {{ contains('abc', 'x') }}", "true false"),
        ("{{ trimSuffix('a.b.b', '.b') }} {{ trimSuffix('a', 'b') }}", "a.b a"),
        ("{{ parseBool('T') }} {{ parseBool('0') }}", "true false"),
        ("{{ reverse(getvs('/u/*')) | join(',') }}", "10.0.0.9,10.0.0.2,10.0.0.1"),
        ("{{ sortByLength(['ccc', 'a', 'bb']) | join }}", "abbccc"),
        ("{% for it in sortKVByLength(gets('/*/*')) %}{{ it.key }} {% endfor %}", "/u/a /u/b /u/c /long/a "),
        ("{{ add(7, 2) }} {{ sub(7, 9) }} {{ mul(7, 2) }} {{ div(-7, 2) }} {{ mod(-7, 2) }}", "9 -2 14 -3 -1"),
        ("{{ seq(3, 5) | join(',') }} {{ seq(2, 1) | length }}", "3,4,5 0"),
        ("{{ atoi('-12') + 1 }} {{ seq(1, atoi('2')) | length }}", "-11 2"),
        ("{{ jsonArray('[1, 2]') | length }}", "2"),
        ("{{ split('a:b', ':')[1] }} {{ join(['a', 'b'], '-') }} {{ replace('a-b-c', '-', '_', 1) }}", "b a-b a_b-c"),
        ("{{ toUpper('a') }} {{ toLower('B') }} {{ replace('a-b-c', '-', '_', -1) }}", "A b a_b_c"),
        ("{{ base64Decode('YWJj\\r\\nZGVm\\n') }}", "abcdef"),
        ("{{ json('{\"items\": 1, \"get\": {\"keys\": 2}}').get.keys }} {{ map('values', 3)['values'] }}", "2 3"),
        ("{% for name, it in json('{\"a\": 1}').items() %}{{ name }}{{ it }}{% endfor %}", "a1"),
    ],
)  # fmt: skip
def test_a_template_does_what_confd_s_does(source: str, text: str) -> None:
    held = entries(u__a="10.0.0.9", u__b="10.0.0.2", u__c="10.0.0.1", long__a="x")
    assert rendered(source, held) == text


def test_every_function_of_confd_s_is_here_or_in_the_table_of_the_docs() -> None:
    names = """base split json jsonArray dir map getenv join datetime toUpper toLower contains replace trimSuffix
        lookupIP lookupIPV4 lookupIPV6 lookupSRV fileExists base64Encode base64Decode parseBool reverse sortByLength
        sortKVByLength add sub div mod mul seq atoi exists ls lsdir get gets getv getvs cget cgets cgetv cgetvs"""
    docs = (Path(__file__).resolve().parents[3] / "docs/templates.md").read_text()
    given = Keys(parsed(LEAST)).functions()
    assert [name for name in names.split() if name not in given and f"`{name}`" not in docs] == []
    assert [name for name in given if name in names.split() and f"`{name}(" not in docs] == []


def test_services_are_what_discovery_knows_of_them() -> None:
    held = entries(
        services__web__scheme="http",
        services__web__hosts__b="10.0.0.2:80",
        services__web__hosts__a="[fd00::1]:81",
        services__web__weight__a="7",
        services__web__drain__b="",
        services__web__hosts__bad="nonsense",
        services__db__hosts__x="10.0.0.3:5432",
    )
    source = """{% for service in services() -%}
        {{ service.name }} {{ service.scheme or "none" }}:
        {%- for it in service.instances %} {{ it.id }}={{ it.address }},{{ it.port }},{{ it.weight }},{{ it.draining }}
        {%- endfor %}|{% endfor %}"""
    assert rendered(source, held, '["/services"]') == (
        "db none: x=10.0.0.3,5432,100,false|web http: a=fd00::1,81,7,false b=10.0.0.2,80,100,true|"
    )
    assert "db none" not in rendered(source, held, '["/services/web"]')


def test_a_prefix_is_left_out_of_the_templates_keys() -> None:
    assert rendered("{{ getv('/banner') }} {{ ls('/') | join }}", HELD, '["/banner"]', "settings") == "Hi banner"


def test_a_template_sees_only_the_keys_that_its_resource_names() -> None:
    assert rendered("{{ getvs('/*/*') | join }}", HELD, '["/settings"]') == "Hi"
    assert "does not name /services/web: add it there" in fails("{{ getv('/services/web') }}", HELD, '["/settings"]')
    assert 'names no services: add "/services"' in fails("{{ services() }}", HELD, '["/settings"]')


def test_templates_include_and_import_each_other() -> None:
    part = "{% macro line(key) %}{{ getv(key) }}{% endmacro %}"
    assert rendered("{% include 'b' %}", HELD, b="{{ getv('/settings/banner') }}") == "Hi"
    assert rendered("{% from 'b' import line %}{{ line('/settings/banner') }}", HELD, b=part) == "Hi"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("\n{{ getv('/none') }}", "templates/main:2: there is no key /none: set it, or give getv a default"),
        ("{{ nonsense }}", "templates/main:1: 'nonsense' is undefined"),
        ("{{ get('/none').value }}", "there is no key /none"),
        ("{{ 1 / 0 }}", "templates/main:1: division by zero"),
        ("{{ json('{') }}", "json: the value is no JSON"),
        ("{{ base64Decode('!') }}", "base64Decode: the value is no base64"),
        ("{{ jsonArray('{}') }}", "jsonArray: the value is no JSON array"),
        ("{{ gets('[') }}", "'[' is not a pattern"),
        ("{{ map('a') }}", "map: give names and values in turn"),
        ("{{ map(1, 2) }}", "map: give names and values in turn"),
        ("{{ parseBool('yes') }}", "parseBool: 'yes' is neither true nor false"),
        ("{{ atoi('1_0') }}", "atoi: '1_0' is no whole number"),
        ("{{ add('1', 2) }}", "add: '1' is no whole number: atoi makes one of text"),
        ("{{ div(1, 0) }}", "by zero"),
        ("{{ seq(1, 100000000) }}", "Range too big"),
        ("a\n\n{% for %}", "templates/main:3: "),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ getv.__globals__ }}", "unsafe"),
        ("{{ [].append(1) }}", "attribute 'append' of 'list' object is unsafe"),
        ("{{ range(10000000) | list }}", "Range too big"),
        ("{{ [1, 2] | random }}", "No filter named 'random'"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{% include 'none' %}", "templates/main:1: there is no template templates/none"),
        ("{{ getv('settings/banner') }}", "a key begins with a slash: write /settings/banner"),
        ("{{ atoi(1) }}", "templates/main:1: atoi does not take (int): docs/templates.md"),
        ("{{ toUpper(none) }}", "toUpper does not take (NoneType)"),
        ("{{ getv(1) }}", "getv does not take (int)"),
        ("{{ split('a') }}", "split does not take (str)"),
        ("{{ json('\"\\\\ud800\"') }}", "surrogates not allowed"),
    ],
)
def test_what_a_template_can_t_do_is_told_with_its_line(source: str, said: str) -> None:
    assert said in fails(source)


def test_the_line_is_that_of_the_template_that_failed() -> None:
    assert fails("{% include 'b' %}", b="\n\n{{ getv('/none') }}").startswith("templates/b:3: ")


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    assert rendered("{{ getv('/a') }}", entries(a="\udcff")) == "\udcff"


def test_rendering_twice_gives_the_same_and_forgets_the_first() -> None:
    sources = {"main": "{{ getvs('/a/*') | join(' ') }}"}
    body = b'[template]\nsrc = "main"\ndest = "x"\nkeys = ["/a"]\n'
    template = ResourceTemplate(parse_resource("conf.d/x.toml", body, FILES, sources), sources, {})
    assert template.render(entries(a__x="1", a__y="2")) == template.render(entries(a__y="2", a__x="1")) == b"1 2"
    assert template.render(entries(a__z="3")) == b"3"


def test_templates_are_checked_before_they_reach_a_machine() -> None:
    check_templates({"a": "{% include 'b' %}", "b": "{{ x }}", "c": "{% include name %}"})
    for sources, said in (
        ({"a": "x\n{% if %}"}, "example/templates/a:2: "),
        ({"a": "{{ x | nofilter }}"}, "No filter named 'nofilter'"),
        ({"a": "{% extends 'base' %}"}, "it includes 'base', which is not in templates/"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_templates(sources, "example/")
        assert said in str(caught.value)


def test_facts_are_not_lost_to_a_template_that_sets_their_name() -> None:
    sources: dict[str, Any] = {"main": "{% set system = 'other' %}{{ system }}"}
    assert rendered(sources["main"], {}) == "other"
    assert rendered("{{ system }}", {}) == "air"

"""``finkbridge republish``: archived messages back on a topic, byte for byte."""

from __future__ import annotations

import sys

import click

from finkbridge import later
from finkbridge.cli.options import App, Number, complete_cluster, json_option, lake_option, pass_app
from finkbridge.republish.request import Pace, Request, Selection, parse_offsets


@click.command(name="republish")
@click.argument("topic")
@click.option("--to", "target", required=True, metavar="TOPIC", help="Where to; made when it is not there.")
@click.option(
    "--cluster", metavar="NAME", shell_complete=complete_cluster, help="The target's, of the settings."
)
@click.option(
    "--servers", metavar="HOST:PORT", help="The target's, in place of --cluster; no password is sent."
)
@click.option(
    "--from-cluster",
    metavar="NAME",
    shell_complete=complete_cluster,
    help="Where TOPIC was drained from, if several have it.",
)
@click.option(
    "--generation", type=click.IntRange(min=1), metavar="N", help="Life of TOPIC (default: newest)."
)
@click.option("--night", "nights", multiple=True, metavar="YYYYMMDD", help="Of this night; repeatable.")
@click.option("--offsets", multiple=True, metavar="P:START-END", help="END is not in it; repeatable.")
@click.option("--object", "objects", multiple=True, metavar="ID", help="Of this object; repeatable.")
@click.option("--rate", type=Number(min=0, min_open=True), metavar="N", help="Messages a second at most.")
@click.option("--speed", metavar="10x", help="Times as fast as they came, by their timestamps.")
@click.option(
    "--longest-pause",
    type=Number(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="With --speed: longer pauses are cut to this.",
)
@click.option("--append", is_flag=True, help="Also to a topic that holds other messages.")
@json_option
@lake_option
@pass_app
@click.pass_context
def command(  # noqa: PLR0913 - one argument an option
    context: click.Context,
    app: App,
    topic: str,
    *,
    target: str,
    cluster: str | None,
    servers: str | None,
    from_cluster: str | None,
    generation: int | None,
    nights: tuple[str, ...],
    offsets: tuple[str, ...],
    objects: tuple[str, ...],
    rate: float | None,
    speed: str | None,
    longest_pause: float,
    append: bool,
    as_json: bool,
) -> None:
    """Put the lake's messages of TOPIC back on a topic: values, keys, headers and timestamps as they came.

    Ended or killed, the same command goes on where it was, without doubles: messages and progress are
    committed in the same Kafka transaction (readers need isolation.level=read_committed, librdkafka's
    default). At the end the target is read back and compared with the archive. Messages in quarantine go
    along, unless --night or --object selects. Run again later, it sends what the lake got since.

    Exit codes: 0 the target holds exactly the selection; 1 not; 2 a bad setting; 130 or 143 ended.

    \b
    finkbridge republish fink_sn_candidates_ztf --to replay --servers localhost:9092 --speed 10x
    """  # noqa: D301 - click wants the character itself
    if (cluster is None) == (servers is None):
        raise click.UsageError("say where to: --cluster NAME or --servers HOST:PORT")
    wanted = tuple(later.call("finkbridge.nights:parse_night", night) for night in nights)
    selection = Selection(
        topic, from_cluster, generation, wanted, tuple(map(parse_offsets, offsets)), objects
    )
    pace = Pace(rate, _factor(speed), longest_pause)
    settings = app.settings()
    request = Request(selection, cluster or f"at {servers}", target, pace, append)
    code = later.call("finkbridge.cli.republishing:run", app, settings, request, servers, as_json=as_json)
    context.exit(code)


def _factor(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < sys.float_info.max:
        raise click.BadParameter(f"{text!r} is no speed: write 10x, 1x or 0.5x", param_hint="--speed")
    return factor

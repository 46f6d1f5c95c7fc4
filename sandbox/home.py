"""The web page at the sandbox's address."""

from collections.abc import Mapping
from html import escape
from string import Template

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Calltouch sandbox</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto;
         padding: 0 1rem; color: #1b2430; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .35rem 0; border-bottom: 1px solid #e3e7ec; }
  th { font-weight: normal; color: #5b6775; width: 15rem; vertical-align: top; }
  code, pre { font: 14px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
  pre { background: #f4f6f8; padding: 1rem; border-radius: 6px; overflow-x: auto; }
  button { font: inherit; padding: .2rem .8rem; cursor: pointer; }
</style>
<h1>Calltouch sandbox</h1>
<p>A Calltouch to run on your own machine: its method for the statistics of SMS sent to a client
base, as Calltouch documents it. All SMS and phone numbers here are made up.</p>
<table>$facts</table>
<h2>config.json <button id="copy">Copy</button></h2>
<pre id="config">$config</pre>
<h2>Since the start</h2>
<table>$counts</table>
<script>
  document.getElementById("copy").onclick = (click) =>
    navigator.clipboard.writeText(document.getElementById("config").textContent)
      .then(() => { click.target.textContent = "Copied"; });
</script>
</html>
""")


def home_page(facts: Mapping[str, object], counts: Mapping[str, int], config: str) -> str:
    """Return the page's HTML."""
    return _PAGE.substitute(
        facts=_rows({name: f"<code>{escape(str(value))}</code>" for name, value in facts.items()}),
        counts=_rows({name: f"{count:,}" for name, count in counts.items()}),
        config=escape(config, quote=False),
    )


def _rows(cells: Mapping[str, str]) -> str:
    return "\n".join(f"<tr><th>{escape(name)}<td>{cell}" for name, cell in cells.items())

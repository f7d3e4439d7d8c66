"""Is there a network? Asked with patience, so that a machine without one does not hang."""

import threading

import requests

PATIENCE = 8  # seconds


def answers(url: str) -> bool:
    """Tell whether a server answers within `PATIENCE`, through proxies as requests finds them."""
    heard = []
    probe = threading.Thread(target=lambda: heard.append(_ask(url)), daemon=True)
    probe.start()
    probe.join(PATIENCE)
    return any(heard)


def _ask(url: str) -> bool:
    try:
        return requests.head(url, timeout=PATIENCE / 2).status_code > 0
    except requests.RequestException:
        return False

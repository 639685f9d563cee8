"""Requests that software makes ahead of its user, and requests of the user: who sends what.

docs/browsers.md has the same with its sources. What Chromium, Firefox and WebKit really send is
tested in tests/browser.
"""

type Headers = dict[str, str]

AHEAD_OF_USER: dict[str, Headers] = {
    "Chromium, and Firefox since 115, <link rel=prefetch>": {
        "sec-purpose": "prefetch",
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "no-cors",
    },
    "Firefox from 2002 to 114, <link rel=prefetch>": {"x-moz": "prefetch"},
    "Chromium, prefetch by speculation rules": {
        "sec-purpose": "prefetch",
        "sec-fetch-dest": "document",
        "sec-fetch-mode": "navigate",
    },
    "Chromium, prerender by speculation rules": {
        "sec-purpose": "prefetch;prerender",
        "sec-fetch-dest": "document",
        "sec-fetch-mode": "navigate",
    },
    "Chromium, preview of a link": {"sec-purpose": "prefetch;prerender;preview"},
    "Chrome for Android since 103, by Google's proxy": {
        "sec-purpose": "prefetch; anonymous-client-ip"
    },
    "Chromium and WebKit from 2011, <link rel=prefetch>": {"purpose": "prefetch"},
    "a prefetch that passes through a service worker": {
        "sec-purpose": "prefetch",
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "navigate",
    },
    "Safari since 4, Top Sites; Facebook's app; Chrome's Instant": {"x-purpose": "preview"},
    "WebKit in 2010, <link rel=prefetch>": {"x-purpose": "prefetch"},
    "an old prerender": {"purpose": "Prerender"},
    # Sec-Fetch-Dest: Chrome since 80, Firefox since 90, Safari since 16.4
    "a frame": {"sec-fetch-dest": "iframe", "sec-fetch-mode": "navigate"},
    "an embedded document": {"sec-fetch-dest": "embed", "sec-fetch-mode": "navigate"},
    "an image": {"sec-fetch-dest": "image", "sec-fetch-mode": "no-cors"},
    "fetch(url), by a service worker too": {"sec-fetch-dest": "empty", "sec-fetch-mode": "cors"},
    "a part of a page, without Sec-Fetch-Mode": {"sec-fetch-dest": "empty", "sec-fetch-mode": ""},
}

BY_USER: dict[str, Headers] = {
    "a browser without Fetch Metadata: Safari before 16.4, many WebViews": {},
    "a click on a link": {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate"},
    # Fetch's standard gives the request that a service worker passes on no destination.
    "fetch(event.request) of a service worker, Chromium and WebKit": {
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "navigate",
    },
    # In Fetch's standard, only options change the mode.
    "fetch(event.request) of a service worker, Firefox; with options, all": {
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "same-origin",
    },
    "a service worker's navigation preload": {
        "service-worker-navigation-preload": "true",
        "sec-fetch-dest": "document",
        "sec-fetch-mode": "navigate",
    },
    "a proxy that blanks headers": {"sec-fetch-dest": "", "sec-purpose": ""},
    "another header of that name": {"purpose": "personal", "accept": "prefetch"},
}

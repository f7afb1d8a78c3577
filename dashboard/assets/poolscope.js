// The few things that only the browser can do: scheme, navigation on a phone, the address of what is shown.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.poolscope = {
  // The scheme; a click flips it and remembers the choice under the name that Mantine reads.
  scheme: function (clicks) {
    var root = document.documentElement;
    var dark = root.getAttribute("data-mantine-color-scheme") === "dark";
    if (clicks) {
      dark = !dark;
      try { window.localStorage.setItem("mantine-color-scheme-value", dark ? "dark" : "light"); } catch (error) { /* off */ }
      root.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
    }
    return dark ? "dark" : "light";
  },

  // The burger opens and shuts the pages' list; going to a page shuts it.
  navbar: function (opened, path, navbar) {
    var asked = window.dash_clientside.callback_context.triggered.map(function (t) { return t.prop_id; });
    var open = asked.indexOf("burger.opened") >= 0 ? Boolean(opened) : false;
    return [Object.assign({}, navbar, { collapsed: { mobile: !open } }), open];
  },

  // The state of a page goes into its address without a new entry in the history.
  address: function (query) {
    if (typeof query === "string") {
      var snap = new URLSearchParams(window.location.search).get("snap");
      var parts = (query ? [query] : []).concat(snap ? ["snap=" + encodeURIComponent(snap)] : []);
      var target = window.location.pathname + (parts.length ? "?" + parts.join("&") : "");
      if (target !== window.location.pathname + window.location.search) {
        window.history.replaceState(window.history.state, "", target);
      }
    }
    return window.dash_clientside.no_update;
  },

  // The address of these very numbers: pinned to the snapshot that they stand on, and copied where the browser allows it.
  share: function (clicks) {
    var badge = document.querySelector("#freshness [data-snapshot]");
    var none = window.dash_clientside.no_update;
    if (!clicks) return [none, none];
    var query = new URLSearchParams(window.location.search);
    if (badge) {
      query.set("snap", badge.dataset.snapshot);
      var target = window.location.pathname + "?" + query.toString().replace(/\+/g, "%20");
      window.history.replaceState(window.history.state, "", target);
    }
    var told = "The address bar holds a link to this page";
    if (!navigator.clipboard) return [told, ""];
    return navigator.clipboard.writeText(window.location.href).then(
      function () { return [badge ? "Copied: a link to these numbers" : "Copied: a link to this page", ""]; }, function () { return [told, ""]; }
    );
  },

  // The lines of a submit file, for one's own.
  copyLines: function (lines) {
    var failed = "The browser doesn't let a page copy here: download the file";
    if (!lines) return "";
    if (!navigator.clipboard) return failed;
    return navigator.clipboard.writeText(lines.text).then(
      function () { return "Copied"; }, function () { return failed; }
    );
  },

  // While the field holds a mistake, the last answer stays and steps back.
  stale: function (error) {
    return error ? "answer awaits stale" : "answer awaits";
  },

  windowAddress: function (choice) {
    return window.dash_clientside.poolscope.address(choice && choice !== "7d" ? "win=" + choice : "");
  },

  classAddress: function (name, span) {
    var parts = name && name !== "GPU jobs" ? ["class=" + encodeURIComponent(name)] : [];
    if (span) { parts.push("since=" + span[0], "until=" + span[1]); }
    var query = parts.join("&");
    return window.dash_clientside.poolscope.address(query);
  },

  containersAddress: function (event, variant) {
    var parts = [];
    if (event && event !== "new image") parts.push("event=" + encodeURIComponent(event));
    if (variant && variant !== "quota 4 GB") parts.push("variant=" + encodeURIComponent(variant));
    return window.dash_clientside.poolscope.address(parts.join("&"));
  }
};

// A file beside a chart is of the snapshot that the chart is pinned to.
document.addEventListener("click", function (event) {
  var link = event.target.closest && event.target.closest("a.quiet-link[href*='/api/']");
  var snap = new URLSearchParams(window.location.search).get("snap");
  if (link && snap && link.href.indexOf("snap=") < 0) {
    link.href += (link.href.indexOf("?") < 0 ? "?" : "&") + "snap=" + encodeURIComponent(snap);
  }
}, true);

// Dash loads an upload when it is first shown, and gives its file input no name for those who hear the page.
new MutationObserver(function () {
  document.querySelectorAll(".drop input[type=file]:not([aria-label])").forEach(function (input) {
    input.setAttribute("aria-label", "Submit file");
  });
}).observe(document.documentElement, { childList: true, subtree: true });

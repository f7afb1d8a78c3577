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
      var target = window.location.pathname + (query ? "?" + query : "");
      if (target !== window.location.pathname + window.location.search) {
        window.history.replaceState(window.history.state, "", target);
      }
    }
    return window.dash_clientside.no_update;
  },

  // While the field holds a mistake, the last answer stays and steps back.
  stale: function (error) {
    return error ? "answer stale" : "answer";
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

// Browsers start no workers from files, so that the search of a site that was opened from a folder would find nothing.
// There, a hidden frame does the work of a worker: it runs the same script and answers by messages.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      const address = JSON.stringify(new URL(url, document.baseURI).href);
      this.frame.srcdoc = `<!doctype html><script>
        window.postMessage = (data) => parent.postMessage(data, "*");
        window.importScripts = (...urls) => Promise.all(urls.map((one) => new Promise((resolve, reject) => {
          document.head.append(Object.assign(document.createElement("script"), {src: one, onload: resolve, onerror: reject}));
        })));
      </script><script src=${address}></script>`;
      this.ready = new Promise((resolve) => this.frame.addEventListener("load", resolve, { once: true }));
      window.addEventListener("message", (event) => {
        if (event.source !== this.frame.contentWindow) return;
        const answer = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(answer);
        this.onmessage?.(answer);
      });
      (document.body ?? document.documentElement).append(this.frame);
    }

    postMessage(data) {
      // the frame's own function answers, so that messages to it are events
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}

/* A page that is opened from a file may start no worker, and the site's search is one. Here it is a script in a hidden
   frame that speaks as a worker does, so that the search works without a server and without a network. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.ready = new Promise(resolve => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow
          const load = address => new Promise((done, failed) => {
            const script = inside.document.createElement("script")
            script.src = address
            script.onload = done
            script.onerror = () => {
              this.dispatchEvent(new ErrorEvent("error", { message: `could not load ${address}` }))
              failed()
            }
            inside.document.head.append(script)
          })
          inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
          inside.importScripts = (...addresses) => addresses.reduce((before, address) => before.then(() => load(address)), Promise.resolve())
          load(new URL(url, location.href).href).then(() => resolve(inside))
        }
      })
      this.frame.srcdoc = "<!doctype html>"
      document.body.append(this.frame)
    }
    postMessage(data) {
      this.ready.then(inside => inside.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}

// Requests, a few on their way at a time; the service batches what arrives together.

const AT_ONCE = 3;

/** Runs jobs in order; `onIdle` is called when the last of them has ended. */
export class Queue {
  constructor(onIdle) {
    this.onIdle = onIdle;
    this.waiting = [];
    this.running = 0;
  }

  /** Add a job: a function that answers a promise, which never fails. */
  add(job) {
    this.waiting.push(job);
    this.pump();
  }

  clear() {
    this.waiting = [];
  }

  pump() {
    while (this.running < AT_ONCE && this.waiting.length) {
      this.running += 1;
      this.waiting
        .shift()()
        .finally(() => {
          this.running -= 1;
          this.pump();
          if (!this.running) this.onIdle();
        });
    }
  }
}

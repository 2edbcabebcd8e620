/** The thread that packs and unpacks files of images' work, which takes seconds for large images. */

import type { KeptDraft } from "./structure";
import { decodeWork, encodeWork } from "./work_file";
import type { WorkReply, WorkRequest } from "./work_packer";

/** The draft that was packed last: the corrections of an image change more often than what the model found. */
let draft: KeptDraft | null = null;

self.onmessage = ({ data }: MessageEvent<WorkRequest>) => {
  const { task } = data;
  try {
    if (data.kind === "pack") {
      if (data.draft !== "known") ({ draft } = data);
      const content = encodeWork(data.state, { ...data.work, draft }, data.context);
      send({ task, kind: "packed", content }, [content.buffer]);
    } else {
      const { state, work } = decodeWork(data.content, data.vocabulary);
      const own = work.draft ? [work.draft.labels.buffer, work.draft.confidence.buffer] : [];
      send({ task, kind: "unpacked", state, work }, own as ArrayBuffer[]);
    }
  } catch (error) {
    send({ task, kind: "failed", message: error instanceof Error ? error.message : String(error) });
  }
};

function send(reply: WorkReply, transfer: Transferable[] = []): void {
  self.postMessage(reply, { transfer });
}

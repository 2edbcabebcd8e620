/** Takes a photograph with a camera of the device. */

import { useEffect, useRef, useState } from "preact/hooks";

import { Dialog } from "./dialog";
import { FileButton } from "./file_button";

export interface CameraProps {
  onPhotograph: (file: File) => void;
  onClose: () => void;
}

export function Camera({ onPhotograph, onClose }: CameraProps) {
  const video = useRef<HTMLVideoElement>(null);
  const [state, setState] = useState<"starting" | "running" | "none">("starting");

  useEffect(() => {
    let stream: MediaStream | null = null,
      isClosed = false;
    const stop = () => stream?.getTracks().forEach((track) => track.stop());
    const start = async () => {
      try {
        // pages without HTTPS get no camera
        stream = await navigator.mediaDevices.getUserMedia({
          video: { facingMode: "environment", width: { ideal: 1920 } },
        });
        if (isClosed) return stop();
        video.current!.srcObject = stream;
        await video.current!.play();
        setState("running");
      } catch {
        if (!isClosed) setState("none");
      }
    };
    void start();
    return () => {
      isClosed = true;
      stop();
    };
  }, []);

  const take = async () => {
    const { videoWidth: width, videoHeight: height } = video.current!;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d")!.drawImage(video.current!, 0, 0);
    const content = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    const time = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
    onPhotograph(new File([content], `Photograph ${time}.jpg`, { type: "image/jpeg" }));
  };

  return (
    <Dialog title="Camera" onClose={onClose}>
      <div class="column">
        {state === "none" ? (
          <>
            <p>This page gets no camera from the browser: allow it, or use the device's own camera program.</p>
            <FileButton label="Take a photograph" isPrimary isCamera onFiles={([file]) => onPhotograph(file)} />
          </>
        ) : (
          <>
            <video ref={video} class="camera" muted playsInline />
            <button type="button" class="primary" disabled={state !== "running"} onClick={() => void take()}>
              Take the photograph
            </button>
          </>
        )}
      </div>
    </Dialog>
  );
}

// Stands in for the native WebRTC module that webtorrent's polyfill would download a binary for.
// webtorrent is here only as an independent TCP peer in tests and benchmarks; it runs without WebRTC.
export const PeerConnection = undefined
export const RtcpReceivingSession = undefined
export const Video = undefined
export const Audio = undefined
export const cleanup = undefined
export default {}

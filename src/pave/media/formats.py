"""Which of FFmpeg's formats are media files: what is not listed here is never opened.

A format is left out if it reads other files, hosts or devices that a file names (playlists,
concat scripts, session descriptions, picture sequences of a renderer), if it makes pictures or
sound out of text, or if it takes any bytes for samples. Names are FFmpeg's own; of a family with
several names one is listed.
"""

from __future__ import annotations

CONTAINERS = """
3dostr 4xm aa aax anm asf asf_o avi avs bethsoftvid bfi bink bmv c93 cdg cdxl cine derf dfa dhav
dsicin dv dxa ea film_cpk filmstrip flic flv frm gdv gif gxf hnm idcin iff ifv ipmovie iss iv8 ivf
ivr jv kux live_flv lmlm4 lvf lxf matroska mm moflex mov mp4 mpeg mpegts mpegtsraw mpjpeg mods mtv
mv mvi mxf nc nsv nut nuv ogg paf pdv pmp psxstr pva r3d rl2 rm roq rpl sdr2 ser sga siff smjpeg smk
smush swf thp tiertexseq tmv ty usm vivo vividas vmd wc3movie webm wsvqa wtv xmv yop yuv4mpegpipe
"""
STREAMS = """
apv av1 avs2 avs3 cavsvideo dirac dnxhd evc h261 h263 h264 hevc ingenient ipu m4v mjpeg mjpeg_2000
mpegvideo obu vc1 vc1test vvc
"""
SOUND = """
aac ac3 ac4 ace act acm alp apc aptx_hd argo_asf argo_brp argo_cvg bit msnwctcp msp nsp pp_bnk alaw
g722 g723_1 g726 g726le g728 g729 mulaw simbiosis_imx xmd adp ads adx aea afc aiff aix amr amrnb
amrwb apac ape apm aptx ast au avr binka boa bonk brstm bfstm caf codec2 daud dcstr dfpwm dsf dss
dts dtshd eac3 epaf flac fsb fwse genh gsm hca hcom iamf ilbc ircam kvag laf lc3 loas mca mlp mmf
mp3 mpc mpc8 msf mtaf musx nistsphere oma osq pvf qcp qoa redspark rka rsd rso sbc scd sdns sds shn
sln sol sox spdif svag svs tak truehd tta vag voc vpk vqf w64 wady wav wavarc wsaud wsd wv wve xa
xvag xwma
"""
# `image2` is the reader of single pictures too; `pattern_type` keeps it from seeing a sequence.
PICTURES = """
apng bmp_pipe cri_pipe dds_pipe dpx_pipe exr_pipe fits gem_pipe gif_pipe hdr_pipe ico image2
image2pipe j2k_pipe jpeg_pipe jpegls_pipe jpegxl_anim jpegxl_pipe jpegxs_pipe pam_pipe pbm_pipe
pcx_pipe pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe photocd_pipe pictor_pipe png_pipe ppm_pipe
psd_pipe qdraw_pipe qoi_pipe sgi_pipe sunrast_pipe tiff_pipe vbn_pipe webp_pipe xbm_pipe xpm_pipe
xwd_pipe
"""
# No clip, but "holds only subtitles" says more than "not a media file".
SUBTITLES = """
ass dvbsub dvbtxt jacosub lrc microdvd mpl2 mpsub pjs realtext sami scc srt stl subviewer subviewer1
sup vplayer webvtt
"""

WHITELIST = ",".join((CONTAINERS + STREAMS + SOUND + PICTURES + SUBTITLES).split())

NO_LENGTH = {"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "loas", "mp3"}
"""Bare streams of sound: FFmpeg guesses their length from the bit rate of the first moments."""

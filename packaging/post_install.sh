# Users that come later: /usr/share/connleak/state-dirs once more.
/usr/share/connleak/state-dirs

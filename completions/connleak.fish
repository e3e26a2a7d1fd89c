function __fish_connleak_using_command
    set -l cmd (commandline -xpc)
    set -e cmd[1]
    set -l target_cmd $argv

    set -l known_value_flags 'O' 'P' 'by' 'csv' 'extra-opts' 'for' 'interval' 'limit' 'local' 'netns' 'o' 'output' 'output-file' 'p' 'peer' 'pid' 'port' 'proc-root' 'profile' 'rehearse' 'replay' 'sessions' 'side' 'since' 'source' 'state-dir' 't' 'timeout' 'title' 'top' 'unit' 'unix' 'user' 

    set -l i 1
    set -l cleaned_cmd
    while test $i -le (count $cmd)
        set -l arg $cmd[$i]
        if string match -q -- "-*" $arg
            set -l pure_flag (string replace -r '^--?' '' -- $arg)
            if contains -- $pure_flag $known_value_flags
                set -l next_i (math $i + 1)
                if test $next_i -le (count $cmd)
                    if not string match -q -- "-*" $cmd[$next_i]
                        set i $next_i
                    end
                end
            end
        else
            set -a cleaned_cmd $arg
        end
        set i (math $i + 1)
    end

    set -l count_cleaned (count $cleaned_cmd)
    set -l count_target (count $target_cmd)
    
    if test $count_cleaned -ne $count_target
        return 1
    end
    
    for i in (seq $count_target)
        if test $cleaned_cmd[$i] != $target_cmd[$i]
            return 1
        end
    end
    
    return 0
end

complete -c connleak -n '__fish_connleak_using_command' -f -l help -s h -d 'show this help; after a command, that command\'s'
complete -c connleak -n '__fish_connleak_using_command' -f -l version -s V -d 'show the version'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'discover' -d 'what listens here, whose it is, which profile fits, and what no check watches yet'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'who' -d 'a table of who has which sockets, worst first; replaces \'lsof -i -a -p PID\''
complete -c connleak -n '__fish_connleak_using_command' -f -a 'watch' -d 'the states of a service\'s connections over time, and whose grow'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'sessions' -d 'the sessions that a service\'s own list has, joined to the kernel\'s sockets: process, state, last statement'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'graph' -d 'draw the past of services, from the history or CSV files, as one HTML page'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'doctor' -d 'what here would make a check\'s answer partial: rights, namespaces, histories, profiles; thresholds in force'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'every' -d 'run a check at every interval until SIGTERM, for images without a shell: connleak every 60s -- check_closewait ...'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'demo' -d 'a leak found and fixed before your eyes in ten seconds, without any service or root'
complete -c connleak -n '__fish_connleak_using_command' -f -a 'backtest' -d 'replay recorded samples through the leak detector'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l output -s o -r -d 'output format: table, json, zabbix (low-level discovery), icinga (vars.connleak of a host) or nagios (services); default table'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l all -d 'also what no profile fits'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l state-dir -r -d 'where histories are, if not at the default place: what check_conn_growth has recorded is watched'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l replay -r -d 'show a dump recorded with \'ss -tanie -D FILE\' instead of this machine'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l source -r -d 'where sockets are read: auto, netlink or proc; default auto'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l timeout -s t -r -d 'time limit in seconds; default 10'
complete -c connleak -n '__fish_connleak_using_command discover' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command who' -f -l by -r -d 'a row for each pid, unit, user, peer or tenant (the key in the profile); default pid'
complete -c connleak -n '__fish_connleak_using_command who' -f -l tree -d 'processes below their parents: a pooler and its workers'
complete -c connleak -n '__fish_connleak_using_command who' -f -l ghosts -d 'descriptors of sockets that no table shows any more, as after a reset, are told anyway; with this also in which processes they could not be looked for'
complete -c connleak -n '__fish_connleak_using_command who' -f -l no-ghosts -d 'don\'t look for them'
complete -c connleak -n '__fish_connleak_using_command who' -f -l sockets -d 'with -o csv: a row for each socket, with its descriptor, instead of one for each owner'
complete -c connleak -n '__fish_connleak_using_command who' -f -l state-dir -r -d 'where checks remember processes, to know ghosts by, and clients of UNIX sockets and since when these are closed; as root every user\'s, default /var/lib/connleak'
complete -c connleak -n '__fish_connleak_using_command who' -f -l top -r -d 'most rows, 0 for all; default 20'
complete -c connleak -n '__fish_connleak_using_command who' -f -l output -s o -r -d 'output format: table, json or csv; default table'
complete -c connleak -n '__fish_connleak_using_command who' -f -l verbose -s v -d 'say more: -v working directory and command line, -vv also the oldest sockets of each row, with -o json each socket'
complete -c connleak -n '__fish_connleak_using_command who' -f -l port -s p -r -d 'service port, several or a range as 8000-8100. A port finds its profile by itself; may be repeated'
complete -c connleak -n '__fish_connleak_using_command who' -f -l unix -r -d 'UNIX socket that the service listens on: its path, @NAME for an abstract one, or a pattern with * and ?; may be repeated'
complete -c connleak -n '__fish_connleak_using_command who' -f -l profile -s P -r -d 'thresholds of this service: a name such as memcached, or a YAML file. Without -p and --unix also its ports and UNIX sockets. Several, for -o prometheus only, are checked one after the other; may be repeated'
complete -c connleak -n '__fish_connleak_using_command who' -f -l side -r -d 'which end of the connections: server (the local port is the service\'s), client (the remote port is) or both; default from the profile, else both'
complete -c connleak -n '__fish_connleak_using_command who' -f -l peer -r -d 'only sockets whose remote address is in this range; may be repeated'
complete -c connleak -n '__fish_connleak_using_command who' -f -l local -r -d 'only sockets whose local address is in this range; may be repeated'
complete -c connleak -n '__fish_connleak_using_command who' -f -l user -r -d 'only sockets of this user'
complete -c connleak -n '__fish_connleak_using_command who' -f -l unit -r -d 'only sockets of this systemd unit, or with a slash of this cgroup path and all below it'
complete -c connleak -n '__fish_connleak_using_command who' -f -l pid -r -d 'only sockets that these processes hold; may be repeated'
complete -c connleak -n '__fish_connleak_using_command who' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c connleak -n '__fish_connleak_using_command who' -f -l source -r -d 'where sockets are read: auto, netlink or proc (without ages); default auto'
complete -c connleak -n '__fish_connleak_using_command who' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c connleak -n '__fish_connleak_using_command who' -f -l replay -r -d 'judge a dump recorded with \'ss -tanie -D FILE\' instead of this machine'
complete -c connleak -n '__fish_connleak_using_command who' -f -l timeout -s t -r -d 'time limit in seconds and the state it ends in; default 10:unknown'
complete -c connleak -n '__fish_connleak_using_command who' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command who' -f -l version -s V -d 'show the version'
complete -c connleak -n '__fish_connleak_using_command who' -f -l extra-opts -r -d 'read more options from a section of an INI file; what is typed here wins; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l interval -r -d 'time between two looks, 100ms to 1d; default 5s'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l for -r -d 'end after this time; default: watch until told to end'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l csv -r -d 'write each look as a row to this file, or go on with one of an earlier watch'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l state-dir -r -d 'where looks are recorded, for check_conn_growth and connleak graph; default see the man page'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l sessions -r -d 'a shell command that prints the service\'s session list, as \'connleak sessions --how\' tells it up to the pipe; run at each look, at most once a second. Of each socket the last session is kept, and told once the service has closed it and its client has not'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l by -r -d 'owners by pid, unit, user, peer or tenant (the key in the profile); default by command'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l port -s p -r -d 'service port, several or a range as 8000-8100. A port finds its profile by itself; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l unix -r -d 'UNIX socket that the service listens on: its path, @NAME for an abstract one, or a pattern with * and ?; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l profile -s P -r -d 'thresholds of this service: a name such as memcached, or a YAML file. Without -p and --unix also its ports and UNIX sockets. Several, for -o prometheus only, are checked one after the other; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l side -r -d 'which end of the connections: server (the local port is the service\'s), client (the remote port is) or both; default from the profile, else both'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l peer -r -d 'only sockets whose remote address is in this range; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l local -r -d 'only sockets whose local address is in this range; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l user -r -d 'only sockets of this user'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l unit -r -d 'only sockets of this systemd unit, or with a slash of this cgroup path and all below it'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l pid -r -d 'only sockets that these processes hold; may be repeated'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l source -r -d 'where sockets are read: auto, netlink or proc (without ages); default auto'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l timeout -s t -r -d 'time limit in seconds and the state it ends in; default 10:unknown'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l version -s V -d 'show the version'
complete -c connleak -n '__fish_connleak_using_command watch' -f -l extra-opts -r -d 'read more options from a section of an INI file; what is typed here wins; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l how -d 'print the least right and the command for -p, --unix or -P, without any of them of each service that is known'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l top -r -d 'most rows, 0 for all; default 20'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l output -s o -r -d 'output format: table, json or csv; default table'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l verbose -s v -d 'say more: whole statements'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l port -s p -r -d 'service port, several or a range as 8000-8100. A port finds its profile by itself; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l unix -r -d 'UNIX socket that the service listens on: its path, @NAME for an abstract one, or a pattern with * and ?; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l profile -s P -r -d 'thresholds of this service: a name such as memcached, or a YAML file. Without -p and --unix also its ports and UNIX sockets. Several, for -o prometheus only, are checked one after the other; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l side -r -d 'which end of the connections: server (the local port is the service\'s), client (the remote port is) or both; default from the profile, else both'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l peer -r -d 'only sockets whose remote address is in this range; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l local -r -d 'only sockets whose local address is in this range; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l user -r -d 'only sockets of this user'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l unit -r -d 'only sockets of this systemd unit, or with a slash of this cgroup path and all below it'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l pid -r -d 'only sockets that these processes hold; may be repeated'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l source -r -d 'where sockets are read: auto, netlink or proc (without ages); default auto'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l replay -r -d 'judge a dump recorded with \'ss -tanie -D FILE\' instead of this machine'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l timeout -s t -r -d 'time limit in seconds and the state it ends in; default 10:unknown'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l version -s V -d 'show the version'
complete -c connleak -n '__fish_connleak_using_command sessions' -f -l extra-opts -r -d 'read more options from a section of an INI file; what is typed here wins; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l port -s p -r -d 'service port, or several of one service; repeated, each is a chart of its own; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l unix -r -d 'UNIX socket, as the check was given it; repeated, all are one service\'s; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l profile -s P -r -d 'the service of this profile; repeated, each is a chart of its own; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l side -r -d 'as the check was given it: server, client or both'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l pid -r -d 'as the check was given it; like --unit and --user it needs no port; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l peer -r -d 'as the check was given it; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l local -r -d 'as the check was given it; may be repeated'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l user -r -d 'as the check was given it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l unit -r -d 'as the check was given it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l netns -r -d 'as the check was given it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l source -r -d 'as the check was given it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l proc-root -r -d 'as the check was given it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l rehearse -r -d 'as the check was given it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l state-dir -r -d 'where the history is kept; default as for the check'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l since -r -d 'how far back from the last sample; default 24h, of a CSV file all'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l limit -r -d 'connections that a CSV file\'s service can hold; default its column limit, the history knows it'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l title -r -d 'the page\'s title'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l output-file -s O -r -d 'the file to write, whole or not at all; - is standard output; default connleak.html'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l skip-bad -d 'skip a CSV file\'s bad lines, and say how many'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l open -d 'show the page in the browser'
complete -c connleak -n '__fish_connleak_using_command graph' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l profile -s P -r -d 'show the thresholds of this profile, a name or a file; default those of the services that listen here; may be repeated'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l output -s o -r -d 'output format: table or json; default table'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l state-dir -r -d 'where histories are, if not at the default place'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l source -r -d 'where sockets are read: auto, netlink or proc; default auto'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l timeout -s t -r -d 'time limit in seconds; default 10'
complete -c connleak -n '__fish_connleak_using_command doctor' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command every' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command demo' -f -l help -s h -d 'show this help'
complete -c connleak -n '__fish_connleak_using_command backtest' -f -l stream -d 'read one series from standard input and answer each sample with a line: its number, 0, 1 or 2 (may be full in 20 minutes), and with 1 and 2 the seconds left: likely, earliest, latest'
complete -c connleak -n '__fish_connleak_using_command backtest' -f -l from-history -d 'replay what check_conn_growth recorded; takes its options instead of files: see backtest --from-history --help'
complete -c connleak -n '__fish_connleak_using_command backtest' -f -l help -s h -d 'show this help'
